#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# import and export of whole trees: nothing of them is lost on the way in and out, what was interrupted
# is gone on with, what is there is left out.
. "$(dirname "$0")/harness.sh"
need jq rsync setfattr setpriv

# alike A B: no difference in bytes, owners, modes, times, attributes, hard links.
alike() {
	local differences
	differences=$(rsync -aHAXn --delete --checksum --itemize-changes "$1/" "$2/")
	[ -z "$differences" ] || fail "$1 and $2 differ: $(head -n 5 <<<"$differences")"
}

claim "a tree of everything goes in"
src=$T/src
mkdir -p "$src/d/e/empty" "$src/odd [*]"
text 600000 >"$src/d/big"
noise 100000 >"$src/d/noise"
text 50000 >"$src/d/text"
: >"$src/nothing"
printf x >"$src/odd [*]/"$'new\nline'
printf zst >"$src/d/e/name.zst"
ln "$src/d/big" "$src/d/e/link"
ln -s ../nowhere "$src/d/symlink"
truncate -s 30M "$src/sparse"
printf x | dd of="$src/sparse" bs=1 seek=10000000 conv=notrunc status=none
setfattr -n user.note -v hello "$src/d/big"
setfattr -n user.note -v dir "$src/d/e"
chmod 751 "$src/d/e"
chmod 4755 "$src/nothing"
if [ "$(id -u)" = 0 ]; then
	chown 1234:5678 "$src/d/noise"
	mknod "$src/d/null" c 1 3
	setfacl -m u:4321:r "$src/d/noise" 2>/dev/null || true
fi
mkfifo "$src/d/fifo"
touch -d '2019-03-04 05:06:07.123456789' "$src/d/big" "$src/nothing" "$src/d/e" "$src/d/fifo"
mk_store
"$DISKVFS" import "$S" "$src" --json >"$T/json"
[ "$(jq -c '[.imported, .failed, .skipped]' "$T/json")" = '[8,0,0]' ] || fail "$(cat "$T/json")"
[ -f "$S/src/d/text.zst" ] || fail "what was imported is not packed"
mnt_up
alike "$src" "$M/src"
[ "$(du -k "$M/src/sparse" | cut -f1)" -lt 1000 ] || fail "the hole is not one"

claim "the same import again reads nothing"
"$DISKVFS" import "$M" "$src" --json >"$T/json"
[ "$(jq -c '[.imported, .failed, .skipped, .bytes]' "$T/json" | cut -d, -f1,2,4)" = '[0,0,0]' ] ||
	fail "$(cat "$T/json")"

claim "what has changed is read, and a mount shows it at once"
cat "$M/src/d/noise" >/dev/null
text 5000 >"$src/d/noise"
"$DISKVFS" import "$S" "$src" --json >"$T/json"
[ "$(jq -c '[.imported, .bytes]' "$T/json")" = '[1,5000]' ] || fail "$(cat "$T/json")"
same "$src/d/noise" "$M/src/d/noise"
alike "$src/d/e" "$M/src/d/e"

claim "export from a mount is the tree, with what the daemon has not put in place yet"
cp -p "$src/d/text" "$T/kept"
exec 8>"$M/src/d/text"
text 100 >&8 # and more to come: the old value is the value
text 7000 >"$M/src/d/noise"
"$DISKVFS" export "$M" "$T/out" --json >"$T/json"
cmp -s "$T/out/src/d/text" "$T/kept" || fail "half of a value was exported"
cmp -s <(zstdcat "$S/src/d/text.zst") "$T/kept" || fail "half of a value was put in place"
cat "$T/kept" >"$M/src/d/text"
touch -r "$T/kept" "$M/src/d/text"
exec 8>&-
[ "$(jq -c '[.exported, .failed, .skipped]' "$T/json")" = '[8,0,0]' ] || fail "$(cat "$T/json")"
cmp -s "$T/out/src/d/noise" <(text 7000) || fail "the pending value was not exported"
cp -p "$T/out/src/d/noise" "$src/d/noise"
touch -r "$src/d" "$T/out/src/d"
alike "$src" "$T/out/src"
mnt_down

claim "export again writes nothing, and what was changed is written again"
"$DISKVFS" export "$S" "$T/out" --json >"$T/json"
[ "$(jq -c '[.exported, .failed, .bytes]' "$T/json")" = '[0,0,0]' ] || fail "$(cat "$T/json")"
echo changed >"$T/out/src/d/noise"
"$DISKVFS" export "$S" "$T/out" >"$T/text"
grep -q 'exported 1 files' "$T/text" || fail "$(cat "$T/text")"
alike "$src" "$T/out/src"

claim "two exports do not write to one folder at once"
mkdir -p "$T/busy/src/d"
for folder in busy busy/src; do
	exec 7<"$T/$folder"
	flock -x 7
	status=0
	"$DISKVFS" export "$S" "$T/busy" >/dev/null 2>"$T/err" || status=$?
	[ "$status" = 2 ] && grep -q 'another export writes to' "$T/err" || fail "$folder: $status $(cat "$T/err")"
	[ ! -e "$T/$folder/d/text" ] || fail "$folder was written to"
	exec 7<&-
done
"$DISKVFS" export "$S" "$T/busy" >/dev/null
[ -e "$T/busy/src/d/text" ] || fail "not exported"
rm -r "$T/busy"

claim "an import and an export that are killed are gone on with"
mkdir "$T/many"
for i in $(seq 400); do text $((i * 37)) >"$T/many/$i"; done
for round in 1 2 3; do
	"$DISKVFS" import "$S" "$T/many" >/dev/null 2>&1 &
	until [ -n "$(find "$S/many" -maxdepth 1 -type f -print -quit 2>/dev/null)" ]; do sleep 0.01; done
	kill -KILL $! 2>/dev/null || true
	wait $! 2>/dev/null || true
done
"$DISKVFS" import "$S" "$T/many" --json >"$T/json"
[ "$(jq '.imported + .skipped' "$T/json")" = 400 ] || fail "$(cat "$T/json")"
[ "$("$DISKVFS" keys "$S" --prefix many/ | wc -l)" = 400 ] || fail "not 400 keys"
"$DISKVFS" export "$S" "$T/again" >/dev/null 2>&1 &
until [ -e "$T/again/many" ]; do sleep 0.01; done
kill -KILL $! 2>/dev/null || true
wait $! 2>/dev/null || true
"$DISKVFS" export "$S" "$T/again" >/dev/null
alike "$T/many" "$T/again/many"

claim "where there is no room an import and an export end after a few names, and are gone on with"
mkdir "$T/noise"
for i in $(seq 100); do noise 50000 >"$T/noise/$i"; done
if [ "$(id -u)" = 0 ] && mkdir "$T/narrow" && mount -t tmpfs -o size=1M none "$T/narrow"; then
	"$DISKVFS" init "$T/narrow/s"
	# ends WHAT: with status 2, a line for each of a few names and one of what to do
	ends() {
		local status=0
		"$DISKVFS" "$@" >"$T/said" 2>"$T/err" || status=$?
		[ "$status" = 2 ] && grep -q "the $1 ends here; the same command goes on" "$T/err" || fail "$1: $(cat "$T/err")"
		[ "$(wc -l <"$T/err")" -le 20 ] || fail "$1 told $(wc -l <"$T/err") lines"
	}
	ends import "$T/narrow/s" "$T/noise"
	mount -o remount,size=16M "$T/narrow"
	"$DISKVFS" import "$T/narrow/s" "$T/noise" --json >"$T/json"
	[ "$(jq '.imported + .skipped' "$T/json")" = 100 ] || fail "$(cat "$T/json")"
	free=$(df --output=avail -k "$T/narrow" | tail -n 1)
	fallocate -l $(((free - 1000) * 1024)) "$T/narrow/ballast"
	ends export "$T/narrow/s" "$T/narrow/out"
	rm "$T/narrow/ballast"
	"$DISKVFS" export "$T/narrow/s" "$T/narrow/out" >/dev/null
	alike "$T/noise" "$T/narrow/out/noise"
	umount "$T/narrow"
fi

claim "import --move takes the tree away, within a filesystem and from another"
for from in "$T/move" "${TMPDIR:-/tmp}/dv-trees-move.$$"; do
	cp -a "$src" "$from"
	"$DISKVFS" import "$S" "$from/" --move --prefix moved/ >"$T/text" || fail "$(cat "$T/text")"
	[ -z "$(ls -A "$from")" ] || fail "left: $(find "$from" | head)"
	rmdir "$from"
	rm -rf "$T/moved"
	"$DISKVFS" export "$S" "$T/moved" >/dev/null
	alike "$src/d" "$T/moved/moved/d"
	"$DISKVFS" keys -0 "$S" --prefix moved/ | xargs -0 "$DISKVFS" rm "$S"
done

claim "import --move: what was written by another name of a file in between is in that value"
if strace -o "$T/calls" true 2>/dev/null; then
	mkdir "$T/names"
	echo old >"$T/names/a"
	ln "$T/names/a" "$T/names/b"
	# The import stands still where it has removed a.
	ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" strace -f -o "$T/calls" -P "$T/names/a" -e trace=unlinkat \
		-e inject=unlinkat:signal=STOP \
		"$DISKVFS" import "$S" "$T/names/a" "$T/names/b" --move >"$T/text" 2>&1 &
	pid=$!
	until_true 30 test ! -e "$T/names/a"
	echo more >>"$T/names/b"
	until ! kill -0 $pid 2>/dev/null; do
		pkill -CONT -P $pid || true
		sleep 0.05
	done
	wait $pid || fail "$(cat "$T/text")"
	[ "$("$DISKVFS" get "$S" a)" = old ] || fail "a: $("$DISKVFS" get "$S" a)"
	[ "$("$DISKVFS" get "$S" b | tail -n 1)" = more ] || fail "b: $("$DISKVFS" get "$S" b)"
	[ ! -e "$T/names/b" ] || fail "b is left"
	"$DISKVFS" rm "$S" a b
fi

# refused STORE ARG...: status 2, and the reason.
refused() {
	status=0
	timeout 60 "$DISKVFS" "$@" >"$T/text" 2>"$T/err" || status=$?
	[ "$status" = 2 ] && grep -q 'store, or .*its mount' "$T/err" || fail "$*: $status $(head -n 5 "$T/err")"
}

claim "the store and its mount are neither moved nor copied into themselves"
mkdir -p "$T/above"
"$DISKVFS" init "$T/above/s"
for k in k d/k; do echo "$k" | "$DISKVFS" put "$T/above/s" "$k"; done
echo beside >"$T/above/beside"
mkdir "$T/above/m"
ln -s above/s/d "$T/into"
before() { (cd "$T/above/s" && find . ! -path './.diskvfs/*' | sort && cat k d/k .diskvfs/config); }
before >"$T/before"
for path in above/s above/s/ above/s/k above/s/d above/s/.diskvfs/config into/ into/k; do
	refused import "$T/above/s" "$T/$path" --move
	refused import "$T/above/s" "$T/$path" --prefix in/
done
for path in above/s above/s/ above/s/new above/s/d above/s/.diskvfs into into/new; do
	refused export "$T/above/s" "$T/$path"
done
before | cmp - "$T/before" || fail "the store was changed"
"$DISKVFS" mount "$T/above/s" "$T/above/m"
for path in m m/ m/k m/d s/k; do
	refused import "$T/above/m" "$T/above/$path" --move
	refused export "$T/above/s" "$T/above/$path"
done
"$DISKVFS" unmount "$T/above/m"
before | cmp - "$T/before" || fail "the store was changed through its mount"
refused import "$T/above/s" "$T/above/" --move
[ "$("$DISKVFS" keys "$T/above/s")" = $'beside\nd/k\nk' ] || fail "$("$DISKVFS" keys "$T/above/s")"
[ -e "$T/above/s/.diskvfs/config" ] || fail "the store is gone"
echo x | "$DISKVFS" put "$T/above/s" s/k
refused export "$T/above/s" "$T/above"
[ "$(cat "$T/above/s/k")" = k ] && [ -e "$T/above/d/k" ] || fail "the rest was not exported, or over the value"

claim "a prefix that is text, a file alone, a flat store"
"$DISKVFS" import "$S" "$src/nothing" --prefix x/y- >/dev/null
"$DISKVFS" has "$S" x/y-nothing || fail "x/y-nothing is not there"
"$DISKVFS" init "$T/flat" --transform flat
status=0
"$DISKVFS" import "$T/flat" "$src/" >"$T/text" 2>"$T/err" || status=$?
[ "$status" = 2 ] || fail "status $status"
grep -q 'd: the store.s transform holds regular files only' "$T/err" || fail "$(cat "$T/err")"
[ "$("$DISKVFS" keys "$T/flat")" = $'nothing\nsparse' ] || fail "$("$DISKVFS" keys "$T/flat")"
"$DISKVFS" import "$T/flat" "$T/noise/" --prefix of- -q
"$DISKVFS" get "$T/flat" of-7 | cmp - "$T/noise/7"

claim "no value goes where no key leads"
mkdir -p "$T/odd/.diskvfs" "$T/odd/sub/.diskvfs"
echo inner >"$T/odd/sub/.diskvfs/file"
echo outer >"$T/odd/.diskvfs/file"
"$DISKVFS" init "$T/led"
for prefix in ./ ../ a/../b a//b / .diskvfs/ .diskvfs/stage/; do
	status=0
	"$DISKVFS" import "$T/led" "$T/odd/" --move --prefix "$prefix" >/dev/null 2>"$T/err" || status=$?
	[ "$status" = 2 ] && grep -q "prefix $prefix: no key begins so" "$T/err" || fail "$prefix: $status $(cat "$T/err")"
done
status=0
"$DISKVFS" import "$T/led" "$T/odd/" --move >/dev/null 2>"$T/err" || status=$?
[ "$status" = 2 ] && grep -q '\.diskvfs: can not be a key of this store' "$T/err" || fail "$status $(cat "$T/err")"
[ -e "$T/odd/.diskvfs/file" ] || fail "it was moved"
[ "$("$DISKVFS" keys "$T/led")" = sub/.diskvfs/file ] || fail "$("$DISKVFS" keys "$T/led")"
"$DISKVFS" import "$T/led" "$T/odd/" --move --prefix .d/ >/dev/null
[ "$("$DISKVFS" get "$T/led" .d/.diskvfs/file)" = outer ] || fail "beneath a prefix"

claim "what can not take a place leaves what is there"
echo value | "$DISKVFS" put "$T/flat" link
echo value | "$DISKVFS" put "$S" place/dev
mkdir "$T/others"
ln -s target "$T/others/link"
status=0
"$DISKVFS" import "$T/flat" "$T/others/link" --move >/dev/null 2>&1 || status=$?
[ "$status" = 2 ] && [ -L "$T/others/link" ] || fail "status $status"
[ "$("$DISKVFS" get "$T/flat" link)" = value ] || fail "the value is gone"
if [ "$(id -u)" = 0 ]; then
	mknod "$T/others/dev" c 1 3
	status=0
	setpriv --bounding-set=-mknod --inh-caps=-mknod "$DISKVFS" import "$S" "$T/others/dev" --prefix place/ >/dev/null 2>&1 || status=$?
	[ "$status" = 2 ] && [ "$("$DISKVFS" get "$S" place/dev)" = value ] || fail "status $status, or the value is gone"
	"$DISKVFS" import "$S" "$T/others/dev" --prefix place/ >/dev/null
	[ -c "$S/place/dev" ] || fail "the device is not in its place"
	mkdir -p "$T/placed/place"
	echo file >"$T/placed/place/dev"
	status=0
	setpriv --bounding-set=-mknod --inh-caps=-mknod "$DISKVFS" export "$S" "$T/placed" >/dev/null 2>&1 || status=$?
	[ "$status" = 2 ] && [ "$(cat "$T/placed/place/dev")" = file ] || fail "status $status, or the file is gone"
	rm -f "$S/place/dev"
fi

claim "links and special files take the place of others, and of the same no less"
"$DISKVFS" init "$T/third"
for k in link hard1 hard2; do echo old | "$DISKVFS" put "$T/third" "$k"; done
echo new >"$T/others/hard1"
ln "$T/others/hard1" "$T/others/hard2"
rm -f "$T/others/dev"
"$DISKVFS" import "$T/third" "$T/others/" >/dev/null
ln -sfn elsewhr "$T/others/link"
touch -h -r "$T/third/link" "$T/others/link" # as it was, but for where it leads to
"$DISKVFS" import "$T/third" "$T/others/" --move >/dev/null
[ -z "$(ls -A "$T/others")" ] || fail "left: $(ls -A "$T/others")"
[ "$(readlink "$T/third/link")" = elsewhr ] || fail "the link that was moved is lost"
mkdir "$T/outer"
for k in link hard1 hard2; do echo old >"$T/outer/$k"; done
"$DISKVFS" export "$T/third" "$T/outer" >/dev/null
[ "$(readlink "$T/outer/link")" = elsewhr ] && [ "$(cat "$T/outer/hard1")" = new ] || fail "$(ls -l "$T/outer")"
[ "$T/outer/hard1" -ef "$T/outer/hard2" ] || fail "$(ls -li "$T/outer")"
[ "$(ls -A "$T/outer")" = $'hard1\nhard2\nlink' ] || fail "left over: $(ls -A "$T/outer")"
[ "$("$DISKVFS" keys "$T/third")" = $'hard1\nhard2' ] || fail "$("$DISKVFS" keys "$T/third")"
echo x | "$DISKVFS" put "$T/third" .diskvfs-export.part
status=0
"$DISKVFS" export "$T/third" "$T/outer" >/dev/null 2>"$T/err" || status=$?
[ "$status" = 2 ] && grep -q 'rename it' "$T/err" || fail "$status $(cat "$T/err")"

claim "what can not be is told"
status=0
"$DISKVFS" import "$S" "$T/nowhere" 2>"$T/err" >/dev/null || status=$?
[ "$status" = 2 ] && grep -q 'nowhere: No such file' "$T/err" || fail "$status $(cat "$T/err")"
status=0
"$DISKVFS" export "$S" "$T/json" 2>"$T/err" >/dev/null || status=$?
[ "$status" = 2 ] && grep -q 'Not a directory' "$T/err" || fail "$status $(cat "$T/err")"
if [ -e "$S/many/400.zst" ]; then
	printf damage | dd of="$S/many/400.zst" bs=1 seek=100 conv=notrunc status=none
	rm -rf "$T/again"
	status=0
	"$DISKVFS" export "$S" "$T/again" 2>"$T/err" >/dev/null || status=$?
	[ "$status" = 2 ] && grep -q 'many/400: the stored bytes are damaged' "$T/err" || fail "$status $(cat "$T/err")"
	[ ! -e "$T/again/many/400" ] && [ -e "$T/again/many/399" ] || fail "not all others were exported"
fi
