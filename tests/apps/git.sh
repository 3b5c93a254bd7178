#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# git: commits, clone, worktree, gc and fsck on the mount while it is packed.
. "$(dirname "$0")/apps.sh"
need git
export GIT_CONFIG_GLOBAL=$T/gitconfig GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000'
git config --global user.name test
git config --global user.email test@example.org
git config --global init.defaultBranch main
git config --global core.fsync all
g() { git "$@" >"$T/out" 2>&1 || { tail -n 20 "$T/out"; fail "git $*"; }; }

app_up
source_tree "$M/repo" $((5 * APPS_SCALE))
cd "$M/repo"
claim "commit, and the index stays fresh over packing and a remount"
g init
g add .
g commit -m one
pack_now
[ -z "$(git status --porcelain)" ] || fail "status is not clean"
# An index entry whose ctime or inode moved would be written anew.
before=$(sha256sum <.git/index)
[ -z "$(git diff-files --name-only)" ] || fail "stat data of the index is out of date after packing"
cd /
mnt_down
app_up
cd "$M/repo"
[ -z "$(git diff-files --name-only)" ] || fail "stat data of the index is out of date after a remount"
[ "$before" = "$(sha256sum <.git/index)" ] || fail "the index was rewritten"

claim "clone, branches, worktree, rebase, gc, fsck"
g clone --no-hardlinks . "$M/clone"
g clone . "$M/linked"
cd "$M/clone"
for i in 1 2 3 4 5 6; do
	g checkout -b "b$i"
	find . -name .git -prune -o -type f -size +8k -print | sort | awk -v i=$i "NR % 25 == i" |
		while IFS= read -r f; do echo "line $i" >>"$f"; done
	g commit -am "commit $i"
done
pack_now
g worktree add "$M/tree" b3
(cd "$M/tree" && echo x >>"$(git ls-files | head -n 1)" && g commit -am in-worktree)
g checkout b1
g rebase b3
g gc --prune=now
g fsck --full --strict
pack_now
g fsck --full --strict
g checkout b6
[ -z "$(git status --porcelain)" ] || fail "status is not clean"
g worktree remove "$M/tree"
cd "$M/linked"
g fsck --full
cd /
mnt_down
app_up
(cd "$M/clone" && g fsck --full && g repack -adf && g fsck --full)
app_end
