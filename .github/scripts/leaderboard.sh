#!/usr/bin/env bash
# The steps of leaderboard.yml: every row is recomputed once more before it is shown.
set -euo pipefail
out=$1
for folder in submissions/*/; do
  trustad verify "${folder%/}" --no-rerun
done
trustad leaderboard build --submissions submissions --out "$out"
