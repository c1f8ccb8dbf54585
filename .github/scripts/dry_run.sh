#!/usr/bin/env bash
# Every workflow's steps on this machine: dry_run.sh SUBMISSION_FOLDER
# Two clones stand for the project, without the submission, and for a fork that proposes it. Needs trustad on PATH.
set -euo pipefail
submission=$(realpath "$1")
slug=$(basename "$submission")
here=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
commit() { git -C "$1" -c user.name=dry -c user.email=dry@example.org commit --quiet --allow-empty -m "$2"; }
git clone --quiet --no-hardlinks "$here" "$work/base"
git -C "$work/base" rm -rq --ignore-unmatch "submissions/$slug"
commit "$work/base" "Without $slug"
git clone --quiet --no-hardlinks "$work/base" "$work/head"
base_sha=$(git -C "$work/base" rev-parse HEAD)
mkdir -p "$work/head/submissions"
cp -r "$submission" "$work/head/submissions/"
rm -f "$work/head/submissions/$slug/verification.json"
git -C "$work/head" checkout --quiet -b "add-$slug"
git -C "$work/head" add "submissions/$slug"
commit "$work/head" "Add $slug"

cd "$work"
mkdir -p base/submissions
echo "== submission.yml"
base/.github/scripts/submission.sh base head "$base_sha" out 1
echo "== comment.yml"
python3 base/.github/scripts/comment.py out comment.md
echo "== leaderboard.yml, as after the merge"
(cd head && .github/scripts/leaderboard.sh "$work/site")
echo "== rescore.yml"
(cd head && .github/scripts/rescore.sh)
echo "== links.yml, without asking"
PYTHONPATH=head python3 head/.github/scripts/links.py --list 2>/dev/null | wc -l
