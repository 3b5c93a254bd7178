#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Editors, sed -i, logs that are rotated while they are followed, lock files, temporary files.
. "$(dirname "$0")/apps.sh"

app_up
text 300000 >"$M/text" && text 300000 >"$T/text"
chmod 640 "$M/text"
if command -v vim >/dev/null; then
	for copy in yes no; do
		claim "vim, backupcopy=$copy: packed values are edited"
		pack_now
		for f in "$M/text" "$T/text"; do
			timeout 20 vim -u NONE -es -c "set backup backupcopy=$copy" -c '%s/^1/one/e' -c 'normal GoThe end' -c wq \
				"$f" </dev/null >/dev/null 2>&1 || fail vim
		done
		same "$T/text" "$M/text"
		[ "$(stat -c %a "$M/text")" = 640 ] || fail "mode"
		[ -e "$M/text~" ] || fail "no backup"
		[ -z "$(find "$M" -name '*.sw?')" ] || fail "the swap file stays"
	done
fi
if command -v emacs >/dev/null; then
	claim "emacs: a backup by renaming, or by copying; its lock and auto-save files go"
	for how in nil t; do
		pack_now
		for f in "$M/text" "$T/text"; do
			rm -f "$f~"
			(cd "$(dirname "$f")" && HOME=$T timeout 60 emacs -Q --batch "$f" --eval "(progn
				(setq backup-by-copying $how make-backup-files t)
				(goto-char (point-min)) (insert \"begin\\n\") (do-auto-save) (save-buffer))") >/dev/null 2>&1 || fail emacs
		done
		same "$T/text" "$M/text"
		same "$T/text~" "$M/text~"
		[ "$(stat -c %a "$M/text")" = 640 ] || fail "mode"
		[ -z "$(find "$M" -name '.#*' -o -name '#*')" ] || fail "files of the editor stay"
	done
fi
claim "sed -i, perl -i, truncate, tee -a, ed-like appends"
pack_now
for d in "$M" "$T"; do
	sed -i.orig 's/2/two/g' "$d/text"
	! command -v perl >/dev/null || perl -pi -e 's/3/three/' "$d/text"
	truncate -s 150000 "$d/text"
	text 5000 | tee -a "$d/text" >/dev/null
done
same "$T/text" "$M/text"
same "$T/text.orig" "$M/text.orig"
pack_now
same "$T/text" "$M/text"

claim "locks: two appenders under flock lose nothing"
for i in 1 2; do
	for _ in $(seq 1 $((150 * APPS_SCALE))); do
		flock "$M/lock" sh -c 'n=$(cat "$1" 2>/dev/null || echo 0); echo $((n + 1)) >"$1"' - "$M/count"
	done &
	pids="${pids-} $!"
done
wait $pids
[ "$(cat "$M/count")" = $((300 * APPS_SCALE)) ] || fail "count is $(cat "$M/count")"

claim "a followed log is rotated: renamed, copied and truncated, compressed; no line is lost or doubled"
mkdir "$M/log"
: >"$M/log/app.log"
tail -s 0.05 -n +1 -F "$M/log/app.log" >"$T/followed" 2>/dev/null &
tail_pid=$!
(
	for i in $(seq 1 $((400 * APPS_SCALE))); do
		echo "line $i $(printf '%0500d' "$i")" >>"$M/log/app.log"
		sleep 0.005
	done
) &
writer=$!
for n in 3 2 1; do
	sleep 0.5
	mv "$M/log/app.log" "$M/log/app.log.$n"
	pack_now
done
wait $writer
seq -f 'line %g ' 1 $((400 * APPS_SCALE)) >"$T/wanted"
# What is in the files:
cat "$M"/log/app.log.3 "$M"/log/app.log.2 "$M"/log/app.log.1 "$M"/log/app.log | sed 's/[0-9]*$//' | cmp - "$T/wanted" ||
	fail "lines in the files"
all_followed() { sed 's/[0-9]*$//' "$T/followed" | cmp -s - "$T/wanted"; }
until_true 10 all_followed
kill $tail_pid
wait $tail_pid || true
if command -v logrotate >/dev/null; then
	claim "logrotate: create, copytruncate, with dates; compressed at once or later; tail -F goes on"
	for how in create copytruncate "create dateext" "copytruncate delaycompress"; do
		log=$M/log/${how// /_}
		printf '"%s" {\n%s\nrotate 3\nsize 1\ncompress\ndateformat -%%Y%%m%%d-%%s\n}\n' "$log" "${how// /$'\n'}" >"$T/conf"
		chmod 644 "$T/conf"
		: >"$log"
		tail -s 0.05 -n +1 -F "$log" >"$T/followed" 2>/dev/null &
		tail_pid=$!
		exec 8>>"$log"
		for i in 1 2 3 4; do
			echo "last line $i" >&8
			followed() { grep -qx "last line $i" "$T/followed"; }
			until_true 20 followed
			pack_now
			text $((100000 + i)) >&8
			printf '\nend %s\n' "$i" >&8
			followed() { grep -qx "end $i" "$T/followed"; }
			until_true 20 followed # who looks only now and then takes a file of equal size for the same
			case $how in create*) exec 8>&- ;; esac
			pack_now
			logrotate -f -s "$M/log/state" "$T/conf" || fail "logrotate $how"
			case $how in create*) exec 8>>"$log" ;; esac
			[[ $how != *dateext* ]] || sleep 1.1
		done
		exec 8>&-
		kill $tail_pid
		wait $tail_pid || true
		[ ! -s "$log" ] || fail "$how: $(stat -c %s "$log") bytes are left"
		n=0
		for f in $(ls -tr "$log"?*); do
			n=$((n + 1))
			case $f in *.gz) zcat "$f" ;; *) cat "$f" ;; esac |
				cmp - <(echo "last line $((n + 1))" && text $((100001 + n)) && printf '\nend %s\n' $((n + 1))) || fail "$how: $f"
		done
		[ $n = 3 ] || fail "$how: $n files are kept"
	done
fi
claim "a program that holds its log open writes on into what was renamed, packed meanwhile or not"
exec 8>>"$M/held"
text 100000 >&8
mv "$M/held" "$M/held.1"
pack_now
text 100000 >&8
rm "$M/held.1"
text 100000 >&8
exec 8>&-
[ ! -e "$M/held.1" ] || fail "it came back"
claim "mktemp, unlink while open, read back"
f=$(mktemp "$M/tmp.XXXXXX")
exec 9<>"$f"
text 500000 >&9
pack_now
rm "$f"
cmp <(text 500000) "/proc/$$/fd/9" || fail "differs"
exec 9>&-
app_end
