#!/usr/bin/env bash
# The steps of submission.yml: submission.sh BASE HEAD BASE_SHA OUT [PULL_REQUEST]
#   BASE, HEAD   checkouts: the code that checks, and the proposal, of which nothing is run outside isolation
#   OUT          gets verdict.json, verdict.txt, number and the preview site
set -euo pipefail
base=$1 head=$2 base_sha=$3 out=$4 number=${5:-0}
mkdir -p "$out"
echo "$number" > "$out/number"
slug=$(git -C "$head" diff --no-renames --name-only -z "$base_sha...HEAD" | python3 "$base/.github/scripts/changed.py")
status=0
trustad verify "$head/submissions/$slug" --json > "$out/verdict.json" || status=$?
python3 "$base/.github/scripts/comment.py" "$out" "$out/verdict.md" > /dev/null
cat "$out/verdict.md" >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
test "$status" = 0
preview=$(mktemp -d)
trap 'rm -rf "$preview"' EXIT
cp -r "$head/submissions/$slug" "$preview/"
rm -rf "$base/submissions/$slug"
trustad leaderboard build --submissions "$base/submissions" --submissions "$preview" --out "$out/site"
