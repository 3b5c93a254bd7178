#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# keys, get, put, has, rm: the same answers from a store that is mounted and from one that is not, exit
# statuses as grep has them, and a mount that shows at once what was put beside it.
. "$(dirname "$0")/harness.sh"
need jq zstd

# run STATUS COMMAND...: stdout in $T/out, stderr in $T/err.
run() {
	local want=$1 status=0
	shift
	"$@" >"$T/out" 2>"$T/err" || status=$?
	[ "$status" = "$want" ] || fail "status $status, not $want, of: $* ($(cat "$T/err"))"
}

# says PATTERN: one line on stderr, which fits.
says() {
	[ "$(wc -l <"$T/err")" = 1 ] || fail "not one line on stderr: $(cat "$T/err")"
	grep -qE -- "$1" "$T/err" || fail "'$(cat "$T/err")' does not say '$1'"
}

put() { printf %s "$2" | "$DISKVFS" put "$where" "$1" "${@:3}" || fail "put $1"; }

# All of it on $where: the store, or its mountpoint.
answers() {
	claim "$1: what was put is there, whole, under any name"
	put a "one"
	run 2 "$DISKVFS" put "$where" a/b </dev/null
	says 'a/b: can not be'
	put d/e/f "three" --sync
	put '[*] x' ""
	put $'n\nl' "four" --new
	run 0 "$DISKVFS" get "$where" a d/e/f '[*] x'
	[ "$(cat "$T/out")" = onethree ] || fail "get: $(cat "$T/out")"
	text 3000000 >"$T/text"
	"$DISKVFS" put "$where" large <"$T/text"
	"$DISKVFS" get "$where" large | cmp - "$T/text"
	put a "another"
	run 0 "$DISKVFS" get "$where" a
	[ "$(cat "$T/out")" = another ] || fail "get after the second put: $(cat "$T/out")"

	claim "$1: has and rm, and the status of a missing key"
	run 0 "$DISKVFS" has "$where" a d/e/f
	run 1 "$DISKVFS" has "$where" a nothing
	run 1 "$DISKVFS" has "$where" d
	[ ! -s "$T/err" ] || fail "has talks: $(cat "$T/err")"
	run 1 "$DISKVFS" get "$where" nothing
	says 'nothing: no such key'
	run 1 "$DISKVFS" get -q "$where" nothing
	[ ! -s "$T/err" ] || fail "-q talks: $(cat "$T/err")"
	run 1 "$DISKVFS" get "$where" d/e
	run 1 "$DISKVFS" get "$where" a/b
	run 0 "$DISKVFS" rm "$where" d/e/f
	[ ! -e "$S/d" ] || fail "the empty directory stays"
	run 1 "$DISKVFS" rm "$where" d/e/f
	says 'd/e/f: no such key'

	claim "$1: what can not be is refused"
	for key in '' . a/.. a//x /a .diskvfs .diskvfs/stats; do
		run 2 "$DISKVFS" get "$where" "$key"
		says 'is no key'
		run 2 "$DISKVFS" put "$where" "$key" </dev/null
		run 2 "$DISKVFS" rm "$where" "$key"
	done
	run 2 "$DISKVFS" get "$where" ''
	says "'': is no key: it is empty"
	run 2 "$DISKVFS" get "$where" .diskvfs/stats
	says ".diskvfs.* the store's own"
	run 2 "$DISKVFS" put "$where" a --new </dev/null
	says 'a: there is a value already'
	run 2 "$DISKVFS" put "$where" "$(printf 'x%.0s' {1..256})" </dev/null
	says '255 bytes'

	claim "$1: keys come in order, by prefix, from one on, so many"
	for key in b abc abd a.b p/q p/r/s p.x; do put $key "$key"; done
	run 0 "$DISKVFS" keys "$where"
	printf '%s\n' '[*] x' a a.b abc abd b large $'n\nl' p.x p/q p/r/s | cmp - "$T/out"
	run 0 "$DISKVFS" keys "$where" --prefix ab
	printf '%s\n' abc abd | cmp - "$T/out"
	run 0 "$DISKVFS" keys "$where" --prefix p/ --after p/q
	printf '%s\n' p/r/s | cmp - "$T/out"
	run 0 "$DISKVFS" keys "$where" --after abc --limit 2 -0
	printf '%s\0' abd b | cmp - "$T/out"
	run 0 "$DISKVFS" keys "$where" --prefix zz
	[ ! -s "$T/out" ] || fail "keys that are not there"
	run 0 "$DISKVFS" keys "$where" -l --prefix large
	grep -qE '^(raw   |packed) +3000000 +[0-9]+ 20[0-9-]+ [0-9:]+ large$' "$T/out" ||
		fail "-l: $(cat "$T/out")"
	run 0 "$DISKVFS" rm "$where" a '[*] x' $'n\nl' b abc abd a.b p/q p/r/s p.x large
	run 0 "$DISKVFS" keys "$where"
	[ ! -s "$T/out" ] || fail "left: $(cat "$T/out")"
}

mk_store
where=$S answers "not mounted"

claim "a put that is ended, or whose input fails, changes nothing"
where=$S put a old
mkfifo "$T/fifo"
"$DISKVFS" put "$S" a <"$T/fifo" &
pid=$!
exec 7>"$T/fifo"
head -c 100000 /dev/zero >&7
kill -TERM $pid
wait $pid 2>/dev/null || true
exec 7>&-
run 0 "$DISKVFS" get "$S" a
[ "$(cat "$T/out")" = old ] || fail "get: $(head -c 100 "$T/out")"
run 2 "$DISKVFS" put "$S" a </
says 'standard input: .*the old value of a stays'
run 0 "$DISKVFS" keys "$S"
[ "$(cat "$T/out")" = a ] || fail "keys: $(cat "$T/out")"
"$DISKVFS" info "$S" --quick | grep -q 'in use *no' || fail "$("$DISKVFS" info "$S" --quick)"

claim "wrong usage is 2, and each --help is told"
for word in keys get put has rm; do
	run 2 "$DISKVFS" $word
	says "usage: diskvfs $word"
	run 2 "$DISKVFS" $word --sideways "$S" a
	says 'unknown option'
	run 0 "$DISKVFS" $word --help
	grep -q "usage: diskvfs $word" "$T/out" || fail "$word --help"
	run 2 "$DISKVFS" $word "$T/nowhere" a
done
run 2 "$DISKVFS" keys "$S" --limit 0
says "limit: '0' is not a number"
run 2 "$DISKVFS" keys "$S" --limit
says 'needs a value'
"$DISKVFS" keys --help | grep -q hash || fail "keys --help does not speak of hash"
run 2 "$DISKVFS" get "$T" a
says 'is not a store'

claim "keys -l goes on behind a damaged value, tells of it, and ends with 2"
for k in x1 x2 x3; do where=$S put $k $k; done
seq 100000 | zstd -q >"$S/x2b.zst"
truncate -s 200 "$S/x2b.zst"
run 2 "$DISKVFS" keys "$S" -l --prefix x
says 'x2b can not be read'
[ "$(sed 's/.* //' "$T/out" | tr '\n' ' ')" = "x1 x2 x2b x3 " ] || fail "$(cat "$T/out")"
run 0 "$DISKVFS" keys "$S" --prefix x
run 2 "$DISKVFS" get "$S" x2b
grep -q '^diskvfs: x2b: the stored bytes are damaged' "$T/err" || fail "$(cat "$T/err")"
[ "$(grep -c 'x2b can not be read' "$T/err")" = 1 ] || fail "what is wrong is not told once: $(cat "$T/err")"
rm "$S/x2b.zst"
run 0 "$DISKVFS" rm "$S" x1 x2 x3

claim "--unsorted gives the same keys, and goes with no order"
for k in u3 u1 d/u2 u2; do where=$S put $k $k; done
run 0 "$DISKVFS" keys "$S" -U --prefix u
[ "$(sort "$T/out" | tr '\n' ' ')" = "u1 u2 u3 " ] || fail "$(cat "$T/out")"
run 0 "$DISKVFS" keys "$S" --unsorted --prefix d/
[ "$(cat "$T/out")" = d/u2 ] || fail "$(cat "$T/out")"
run 2 "$DISKVFS" keys "$S" -U --sorted
says 'unsorted goes with neither'
run 2 "$DISKVFS" keys "$S" -U --after u1
run 0 "$DISKVFS" rm "$S" u1 u2 u3 d/u2

claim "a reader that goes away ends it without a word"
for i in $(seq 300); do echo "key$i"; done >"$T/names"
while read -r name; do : >"$S/$name"; done <"$T/names"
text 3000000 >"$S/big"
# run with a shell that tells the status of the first one
bash -c "'$DISKVFS' keys '$S' 2>'$T/err' | head -n 1 >'$T/out'; echo \${PIPESTATUS[0]} >'$T/status'"
[ ! -s "$T/err" ] || fail "keys: $(cat "$T/err")"
bash -c "'$DISKVFS' get '$S' big big 2>'$T/err' | head -c 1 >'$T/out'; echo \${PIPESTATUS[0]} >'$T/status'"
[ ! -s "$T/err" ] || fail "get: $(cat "$T/err")"
[ "$(cat "$T/status")" = 141 ] || fail "get: status $(cat "$T/status")"
find "$S" -maxdepth 1 -name 'key*' -delete
rm "$S/big"
"$DISKVFS" rm "$S" a

mnt_up -o coherence=60,settle=3600
where=$M answers "the mountpoint"
where=$S answers "the store of a mount"

claim "the mount shows at once what was put beside it, for all that it remembers"
printf old >"$M/k"
[ ! -e "$M/d/new" ] || fail "d/new is there"
cat "$M/k" >/dev/null
stat "$M/k" >/dev/null
where=$S put k new
[ "$(cat "$M/k")" = new ] || fail "k shows $(cat "$M/k")"
where=$M put d/new first
[ "$(cat "$M/d/new")" = first ] || fail "d/new is not there"
where=$S put d/new second
[ "$(cat "$M/d/new")" = second ] || fail "d/new shows $(cat "$M/d/new")"

claim "get and keys -l see what the daemon has not put in place yet"
exec 8>"$M/k"
printf pending >&8
[ "$("$DISKVFS" get "$S" k)" = "$(cat "$M/k")" ] || fail "get: $("$DISKVFS" get "$S" k)"
"$DISKVFS" keys -l "$S" --prefix k | grep -qE ' 7 .* k$' || fail "$("$DISKVFS" keys -l "$S")"
exec 8>&-

claim "an open descriptor goes on with the old value"
exec 8<"$M/d/new"
where=$S put d/new third
[ "$(cat <&8)" = second ] || fail "another value"
exec 8<&-
[ "$(cat "$M/d/new")" = third ] || fail "d/new shows $(cat "$M/d/new")"
mnt_down

claim "what a killed daemon had acknowledged is got"
mnt_up -o settle=3600
printf 'before' >"$M/killed"
"$DISKVFS" pack "$M" >/dev/null
exec 8>"$M/killed"
printf 'acknowledged' >&8
kill -KILL "$dv_pid"
exec 8>&-
umount -l "$M"
dv_wait_end "$dv_pid" 20
run 0 "$DISKVFS" get "$S" killed
[ ! -s "$T/err" ] || fail "$(cat "$T/err")"
[ "$(cat "$T/out")" = acknowledged ] || fail "$(cat "$T/out")"

claim "closed standard files: no file of the store is taken for one"
run_closed() { # run_closed STATUS ARG...: with all three closed
	status=0
	timeout 60 "$DISKVFS" "${@:2}" <&- >&- 2>&- || status=$?
	[ "$status" = "$1" ] || fail "status $status of ${*:2}"
}
run_closed 0 mount "$S" "$M"
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"
[ "$(cat "$M/killed")" = acknowledged ] || fail "the mount is of no use"
run_closed 2 put "$M" killed
run_closed 2 get "$M" killed
mnt_down
run_closed 2 put "$S" killed
run_closed 2 get "$S" killed
[ "$("$DISKVFS" get "$S" killed)" = acknowledged ] || fail "the value was changed"

claim "a full disk behind standard output is an error of every command that prints"
echo x >"$T/file"
for args in "get $S killed" "keys $S" "info $S" "cas put $S $T/file" "cas verify $S" "import $S $T/file" "export $S $T/plain" \
	"gc $S --max-size 1G" "path $S killed" "pack $S" "unpack $S" "keys --help" "--help" "--version" "--man"; do
	status=0
	timeout 60 "$DISKVFS" $args >/dev/full 2>"$T/err" || status=$?
	[ "$status" = 2 ] && grep -q 'standard output' "$T/err" || fail "$args: $status $(cat "$T/err")"
done

claim "a user of the mount who may not touch the store's folder puts through the mount"
if [ "$(id -u)" = 0 ]; then
	mkdir -m 700 "$T/closed"
	mv "$S" "$T/closed/store"
	S=$T/closed/store
	mnt_up
	mkdir -m 777 "$M/open"
	chown nobody "$M/open"
	as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups -- "$@"; }
	printf mine | as_nobody "$DISKVFS" put "$M" open/x/y --sync || fail "put"
	printf mine | as_nobody "$DISKVFS" put "$M" open/x/y || fail "put again"
	[ "$(as_nobody "$DISKVFS" get "$M" open/x/y)" = mine ] || fail "get"
	[ "$(ls -A "$M/open/x")" = y ] || fail "left: $(ls -A "$M/open/x")"
	as_nobody "$DISKVFS" rm "$M" open/x/y
	[ ! -e "$M/open/x" ] || fail "open/x stays"
	mnt_down
fi
