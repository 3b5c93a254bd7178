#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The layouts of diskv, judged by shell tools: the file of a key has its name, and is raw, gzip or
# zlib from its first byte to its last; what is refused; edits, replacements, kill -9, damage.
. "$(dirname "$0")/harness.sh"
need gzip python3

# inflate FILE LAYOUT [DICT]: its plain bytes.
inflate() {
	case $2 in
	*gzip*) gzip -dc <"$1" ;;
	*zlib*) python3 -c '
import sys, zlib
d = zlib.decompressobj(zdict=open(sys.argv[2], "rb").read()) if len(sys.argv) > 2 else zlib.decompressobj()
out = d.decompress(open(sys.argv[1], "rb").read()) + d.flush()
assert d.eof and not d.unused_data
sys.stdout.buffer.write(out)' "$1" ${3+"$3"} ;;
	*) cat <"$1" ;;
	esac
}

# at_rest: nothing is pending in the mount.
at_rest() {
	local end=$((SECONDS + 30))
	until [ "$(stat_json .values.pending)" = 0 ]; do
		[ "$SECONDS" -lt "$end" ] || fail "something stays pending"
		sleep 0.02
	done
}

seq 1 60000 >"$T/text"
head -c 3000 "$T/text" >"$T/dict"

for layout in diskv diskv:gzip diskv:zlib:9; do
	dict=
	[ "$layout" != diskv:zlib:9 ] || dict=$T/dict
	rm -rf "$S"
	claim "$layout: files have the names of their keys, and nothing else does"
	"$DISKVFS" init "$S" --layout "$layout" --transform split:3 ${dict:+--dict "$dict"}
	mnt_up -o settle=0
	for k in abcdef ab x.zst x.zst.raw '%2ehidden' 'a b'; do cp "$T/text" "$M/$k"; done
	: >"$M/empty"
	at_rest
	for p in abc/def/abcdef ab x.z/x.zst x.z/st./raw/x.zst.raw '%2e/hid/den/%2ehidden' 'a b/a b'; do
		inflate "$S/$p" "$layout" ${dict:+"$dict"} | cmp - "$T/text" || fail "$p"
	done
	[ -z "$(inflate "$S/emp/empty" "$layout" ${dict:+"$dict"})" ] || fail "empty"
	[ "$(find "$S" -type f ! -path '*/.diskvfs/*' | wc -l)" = 7 ] || fail "a stray"

	claim "$layout: abc beside abcdef is refused, as by diskv, and so is what would hide .diskvfs"
	! mkdir "$M/d" 2>"$T/err" || fail "mkdir"
	! (echo x >"$M/abc/x") 2>/dev/null || fail "a directory"
	(echo x >"$M/abc") # abc/abc: free
	! (echo x >"$M/abcabc") 2>"$T/err" || fail "abcabc beside abc"
	grep -q 'Not a directory' "$T/err" || fail "$(cat "$T/err")"
	(echo x >"$M/xyzxyz")
	! (echo x >"$M/xyz") 2>"$T/err" || fail "xyz beside xyzxyz"
	grep -q 'Is a directory' "$T/err" || fail "$(cat "$T/err")"
	! (echo x >"$M/.diskvfs-x") 2>/dev/null || fail ".diskvfs-x"
	rm "$M/abc" "$M/xyzxyz"
	[ "$(cd "$M" && printf '%s\n' * | wc -l)" = 7 ] || fail "listed: $(ls "$M")"

	claim "$layout: edit, append, truncate, replace, rename"
	cp "$T/text" "$T/want"
	printf XX | tee >(dd of="$T/want" bs=1 seek=777 conv=notrunc 2>/dev/null) |
		dd of="$M/abcdef" bs=1 seek=777 conv=notrunc 2>/dev/null
	echo more | tee -a "$M/abcdef" >>"$T/want"
	cmp "$M/abcdef" "$T/want" || fail "edited"
	sync "$M/abcdef"
	inflate "$S/abc/def/abcdef" "$layout" ${dict:+"$dict"} | cmp - "$T/want" || fail "fsynced"
	truncate -s 1000 "$M/ab"
	echo new >"$M/a b"
	mv "$M/x.zst" "$M/empty"
	at_rest
	[ "$(inflate "$S/ab" "$layout" ${dict:+"$dict"} | wc -c)" = 1000 ] || fail "truncated"
	[ "$(inflate "$S/a b/a b" "$layout" ${dict:+"$dict"})" = new ] || fail "replaced"
	inflate "$S/emp/empty" "$layout" ${dict:+"$dict"} | cmp - "$T/text" || fail "renamed over"
	[ ! -e "$S/x.z/x.zst" ] || fail "renamed away"

	claim "$layout: the old value stands until the last writer is gone, and kill -9 loses nothing"
	exec 3>"$M/ab"
	echo 'not yet' >&3
	echo again >"$M/brand new"
	[ "$(inflate "$S/ab" "$layout" ${dict:+"$dict"} | wc -c)" = 1000 ] || fail "not the old one"
	kill -KILL "$dv_pid"
	dv_wait_end "$dv_pid" 20 || fail "the daemon lives"
	umount -l "$M"
	exec 3>&-
	mnt_up -o settle=0
	[ "$(cat "$M/ab")" = 'not yet' ] || fail "killed: $(cat "$M/ab")"
	[ "$(cat "$M/brand new")" = again ] || fail "killed: new"
	[ "$(find "$S/.diskvfs/lost" -type f 2>/dev/null | wc -l)" = 0 ] || fail "lost"

	claim "$layout: changes made in the store are seen; sizes too"
	inflate "$S/abc/def/abcdef" "$layout" ${dict:+"$dict"} >"$T/want"
	cp "$S/abc/def/abcdef" "$S/.new" && mv "$S/.new" "$S/ab"
	sleep 1.1 # coherence
	cmp "$M/ab" "$T/want" || fail "renamed in the store"
	[ "$(stat -c %s "$M/ab")" = "$(stat -c %s "$T/want")" ] || fail "size"
	rm "$S/ab"
	sleep 1.1
	[ ! -e "$M/ab" ] || fail "removed in the store"
	mnt_down

	if [ "$layout" != diskv ]; then
		claim "$layout: damage is EIO for that value, and told; two commands are refused in one line"
		mnt_up
		printf '\377' | dd of="$S/emp/empty" bs=1 seek=$(($(stat -c %s "$S/emp/empty") / 2)) conv=notrunc 2>/dev/null
		sleep 1.1
		! cat "$M/empty" >/dev/null 2>"$T/err" || fail "damage was read"
		grep -q 'Input/output error' "$T/err" || fail "$(cat "$T/err")"
		cmp "$M/abcdef" "$T/want" || fail "another value"
		! "$DISKVFS" unpack "$M" 2>"$T/err" || fail "unpack"
		[ "$(wc -l <"$T/err")" = 1 ] && grep -q layout "$T/err" || fail "$(cat "$T/err")"
		rm "$M/empty"
		mnt_down
		! "$DISKVFS" mount "$S" "$M" -o compress=zstd:5 2>"$T/err" || fail "compress"
		grep -q 'leave compress out' "$T/err" || fail "$(cat "$T/err")"
	fi
done

claim "a large value: from anywhere, edited in its middle, in bounded memory"
rm -rf "$S"
"$DISKVFS" init "$S" --layout diskv:gzip:1 --transform flat
mnt_up -o cache_size=16M
seq 1 4000000 >"$T/large"
cat "$T/large" >"$M/large"
sync "$M/large"
mnt_down
mnt_up -o cache_size=16M
cmp "$M/large" "$T/large" || fail "read from its beginning"
for at in 30000000 7 20000000 12345678; do
	cmp -n 100000 -i "$at" "$M/large" "$T/large" || fail "read at $at"
done
printf EDIT | tee >(dd of="$T/large" bs=1 seek=15000000 conv=notrunc 2>/dev/null) |
	dd of="$M/large" bs=1 seek=15000000 conv=notrunc 2>/dev/null
sync "$M/large"
at_rest
gzip -dc "$S/large" | cmp - "$T/large" || fail "edited"
hwm=$(awk '/VmHWM/ { print $2 }' "/proc/$dv_pid/status")
# cache_size and 64 MiB; sanitizers take more.
grep -q -a __asan_init "$DISKVFS" || [ "$hwm" -lt $((80 * 1024)) ] || fail "$hwm KiB"
mnt_down

claim "a folder of gzip files is adopted, the whole of one with several members too"
rm -rf "$S" && mkdir "$S"
gzip -c "$T/text" >"$S/one"
cat "$S/one" "$S/one" >"$S/two.gz"
"$DISKVFS" init "$S" --adopt --layout diskv:gzip --transform flat
"$DISKVFS" info --json "$S" | grep -q '"layout": *"diskv:gzip"' || fail "info"
mnt_up
cmp "$M/one" "$T/text" || fail one
cat "$T/text" "$T/text" | cmp - "$M/two.gz" || fail two
mnt_down

claim "what does not fit together is refused"
rm -rf "$S"
for bad in '--layout diskv:lzw' '--layout diskv --compress zstd' "--layout diskv:gzip --dict $T/dict" \
	"--dict $T/dict" "--layout diskv:zlib --dict $T/nothing" '--layout diskv --adopt --keep-zst'; do
	! "$DISKVFS" init "$S" $bad 2>"$T/err" || fail "$bad"
	[ "$(wc -l <"$T/err")" = 1 ] || fail "$bad: $(cat "$T/err")"
	[ ! -e "$S/.diskvfs/config" ] || fail "$bad made a store"
done
"$DISKVFS" init "$S" --layout diskv:zlib --dict "$T/dict"
echo other >"$S/.diskvfs/dict"
! "$DISKVFS" mount "$S" "$M" 2>"$T/err" || fail "another dictionary"
grep -q '.diskvfs/dict is another one' "$T/err" || fail "$(cat "$T/err")"

claim "a value takes the place of a link, put or renamed, in each layout"
for case in 'diskv path' 'diskv:gzip flat' 'diskv:gzip path' 'diskv:gzip path:.txt' 'diskv:zlib path'; do
	layout=${case% *} t=${case#* }
	rm -rf "$S"
	mk_store --layout $layout --transform $t
	ln -s target "$S/k"
	echo put | "$DISKVFS" put "$S" k || fail "$case: put"
	[ "$("$DISKVFS" get "$S" k)" = put ] && [ ! -L "$S/k" ] || fail "$case: $(ls -l "$S")"
	[ "$t" != flat ] || continue
	mnt_up -o settle=0
	ln -s target "$M/link"
	mkfifo "$M/fifo"
	mv -f "$M/k" "$M/link" || fail "$case: mv over a link"
	mv -f "$M/link" "$M/fifo" || fail "$case: mv over a FIFO"
	[ "$(cat "$M/fifo")" = put ] && [ "$(ls -A "$M")" = fifo ] || fail "$case: $(ls -l "$M")"
	mnt_down
	[ "$("$DISKVFS" get "$S" fifo)" = put ] || fail "$case: not in the store"
	[ "$(find "$S" -mindepth 1 -not -path '*/.diskvfs*' | wc -l)" = 1 ] || fail "$case: $(ls -l "$S")"
done
