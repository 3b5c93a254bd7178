#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A folder of zstd files that zstd and pzstd made: each is served as its content, to cat, mmap, cp,
# tar and rsync; what can not be read is EIO with the reason in the log; nothing of it is packed. Twins.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd pzstd rsync tar

P=$T/plain
mkdir "$S" "$P"
text 3000000 >"$P/text"

# put NAME PLAIN: zst, from stdin, is the file of a key whose content is the file PLAIN.
put() {
	cat >"$S/$1.zst"
	[ -e "$P/$1" ] || cp "$2" "$P/$1"
}

for level in 1 3 19; do put "level$level" "$P/text" < <(zstd -q -$level -c "$P/text"); done
head -c 200000 "$P/text" >"$P/short"
put ultra "$P/short" < <(zstd -q --ultra -22 -c "$P/short")
put fast "$P/text" < <(zstd -q --fast=9 -c "$P/text")
put long "$P/text" < <(zstd -q --long=27 <"$P/text")
put piped "$P/text" < <(zstd -q <"$P/text")
put unchecked "$P/text" < <(zstd -q --no-check -c "$P/text")
put threads "$P/text" < <(zstd -q -T0 -c "$P/text")
put pzstd "$P/text" < <(pzstd -q -p 2 -c "$P/text")
for _ in 1 2 3 4 5 6 7 8; do cat "$P/text"; done >"$P/huge" # over 16 MiB in one frame
put huge "$P/huge" < <(zstd -q -1 -c "$P/huge")
put huge_piped "$P/huge" < <(zstd -q -1 <"$P/huge")
cat "$P/short" "$P/text" "$P/short" >"$P/several"
put several "$P/several" < <(for f in short text short; do zstd -q -c "$P/$f"; done)
: >"$P/nothing"
put nothing "$P/nothing" < <(zstd -q </dev/null)
skip_frame() { printf "\\x5$1\\x2a\\x4d\\x18\\x05\\0\\0\\0hello"; } # skip_frame HEX_DIGIT
put skippable "$P/short" < <(skip_frame 0 && zstd -q -c "$P/short" && skip_frame 9 && skip_frame e)
rm "$P/text" "$P/short"
echo beside >"$S/plain_file"
echo beside >"$P/plain_file"
find "$S" -type f -exec touch -d '2020-02-02 02:02:02.123456789' {} +

# What can not be read.
for i in $(seq 200); do echo "sample $i $((i * 7919)) of a dictionary"; done >"$T/samples"
split -l 1 "$T/samples" "$T/sample."
zstd -q --train "$T"/sample.* --maxdict=1024 --dictID=4711 -o "$T/dictionary" 2>/dev/null
zstd -q -D "$T/dictionary" -c "$T/samples" >"$S/bad_dictionary.zst"
{ cat "$P/huge" && echo more; } >"$T/newer"
zstd -q --patch-from="$P/huge" --long=25 -c "$T/newer" >"$S/bad_patch.zst" 2>/dev/null
zstd -q --long=28 <"$P/huge" >"$S/bad_window.zst"
head -c 20000 "$S/level19.zst" >"$S/bad_cut.zst"
cat "$S/level3.zst" <(echo trailing) >"$S/bad_tail.zst"
: >"$S/bad_empty.zst"
printf '\x26\xb5\x2f\xfd0123456789' >"$S/bad_legacy.zst"

(cd "$S" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$T/sums"

claim "init refuses the folder without a word on its .zst files"
! "$DISKVFS" init "$S" --adopt 2>"$T/err" || fail "it was made a store"
grep -q -e --decode-zst "$T/err" || fail "$(cat "$T/err")"
mk_store --adopt --decode-zst
mkdir "$M"
"$DISKVFS" mount "$S" "$M" -f -o cache_size=16M,settle=1 2>"$T/foreground" >/dev/null &
until_true 20 is_mounted
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"

claim "sizes are those of the content, times those of the files"
(cd "$P" && find . -type f -printf '%p %s\n' | sort) >"$T/want"
(cd "$M" && find . -type f ! -name 'bad_*' -printf '%p %s\n' | sort) >"$T/got"
diff "$T/want" "$T/got" || fail "see above"
[ "$(stat -c %y "$M/huge_piped")" = "$(stat -c %y "$S/huge_piped.zst")" ] || fail "mtime moved"
[ "$(stat -c %Y "$M/huge_piped")" = 1580608922 ] || fail "mtime is $(stat -c %y "$M/huge_piped")"

claim "reading in sequence decodes a huge frame once"
for key in huge huge_piped; do
	before=$(stat_json .frames.pieces)
	cmp "$P/$key" "$M/$key" || fail "$key differs"
	pieces=$(($(stat_json .frames.pieces) - before))
	[ "$pieces" -eq $((24000000 / 131072 + 1)) ] || fail "$key: $pieces pieces were decoded"
done

claim "cat, mmap, reads here and there"
diff -r "$P" "$M" -x 'bad_*' || fail "see above"
python3 - "$P" "$M" <<'PY' || fail "see above"
import mmap, os, random, sys
p, m = sys.argv[1:]
r = random.Random(5)
for key in sorted(os.listdir(p)):
    want = open(os.path.join(p, key), "rb").read()
    fd = os.open(os.path.join(m, key), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(12):
        off = r.randrange(len(want) + 1)
        assert os.pread(fd, 5000, off) == want[off:off + 5000], (key, off)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if want:
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
            assert view[:] == want, key
    os.close(fd)
PY

claim "what can not be read is EIO, and the log says why"
for key in dictionary patch window cut tail empty legacy; do
	! cat "$M/bad_$key" >"$T/out" 2>"$T/err" || fail "bad_$key was read"
	grep -q 'Input/output error' "$T/err" || fail "bad_$key: $(cat "$T/err")"
done
while read -r key text; do
	grep "bad_$key\b" "$T/foreground" | grep -qF -e "$text" || fail "bad_$key: no \"$text\" in the log"
done <<'WHY'
dictionary dictionary 4711
patch --patch-from
window window of
cut is cut off
tail is not zstd
empty empty file
legacy zstd 0.6
WHY

grep "READ of 'bad_" "$T/foreground" >"$T/reads" || fail "a read that fails is not logged"
! grep "not supported$" "$T/reads" >>"$T/log" || fail "without the reason: $(cat "$T/reads")"
claim "cp, tar and rsync take the content"
mkdir "$T/copy" "$T/untar" "$T/sync"
rm "$M"/bad_*
cp -a "$M/." "$T/copy"
diff -r "$P" "$T/copy" || fail "cp"
tar -C "$M" -cf - . | tar -C "$T/untar" -xf -
diff -r "$P" "$T/untar" || fail "tar"
rsync -a "$M/" "$T/sync/"
diff -r "$P" "$T/sync" || fail "rsync"
[ -z "$(rsync -ani "$M/" "$T/sync/" | grep -v '^\.d')" ] || fail "a second rsync finds changes"

claim "a rename and a copy over it, an unlink: as of other values"
mv "$M/level19" "$M/moved"
[ -e "$S/moved.zst" ] && [ ! -e "$S/level19.zst" ] || fail "the file in the store was not renamed"
mv "$M/moved" "$M/level19"
cp "$S/level1.zst" "$S/over.zst" && cp "$P/level3" "$M/moved" && mv "$M/over" "$M/moved"
same "$M/moved" "$P/level1"
rm "$M/moved"
cp "$M/level1" "$M/gone" && cp "$S/level1.zst" "$S/removed.zst"
rm "$M/gone" "$M/removed"
[ ! -e "$S/removed.zst" ] || fail "it is still there"
cp "$S/level1.zst" "$S/replaced.zst" && echo anew >"$M/replaced"
[ "$(cat "$M/replaced")" = anew ] || fail "it was not replaced"
rm "$M/replaced"
[ -z "$(ls "$S" | grep -e '^moved' -e '^gone' -e '^removed' -e '^replaced')" ] || fail "$(ls "$S")"

claim "packing and reading leave the files as they are"
pack_now
grep -v -e bad_ -e plain_file "$T/sums" | (cd "$S" && sha256sum -c --quiet) || fail "see above"

claim "an append, an edit and a truncation unpack what they change"
echo appended >>"$M/huge_piped"
echo appended >>"$P/huge_piped"
printf 'X' | dd of="$M/pzstd" bs=1 seek=1000000 conv=notrunc status=none
printf 'X' | dd of="$P/pzstd" bs=1 seek=1000000 conv=notrunc status=none
truncate -s 1234567 "$M/several"
truncate -s 1234567 "$P/several"
diff -r "$P" "$M" || fail "see above"

claim "memory stays within bounds"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$dv_pid/status")
if ! grep -q -a __asan_init "$DISKVFS" && ! grep -q -a __tsan_init "$DISKVFS"; then
	[ "$peak" -lt $(((16 + 64) * 1024)) ] || fail "peak $peak KiB"
fi
"$DISKVFS" unmount "$M" || fail "unmount"
wait

claim "a remount knows the sizes and reads the same"
mnt_up -o cache_size=16M
before=$(stat_json .frames.pieces)
(cd "$M" && find . -type f -printf '%p %s\n' | sort) >"$T/got"
(cd "$P" && find . -type f -printf '%p %s\n' | sort) >"$T/want"
diff "$T/want" "$T/got" || fail "see above"
[ "$(stat_json .frames.pieces)" = "$before" ] || fail "sizes were decoded again"
diff -r "$P" "$M" || fail "see above"
mnt_down

claim "K beside K.zst (zstd -k): K is served, told and counted; removed, its name is free"
mkdir "$S/twins"
text 50000 >"$S/twins/K"
zstd -q -k "$S/twins/K"
mnt_up -o coherence=0,settle=1
[ "$(ls "$M/twins")" = K ] || fail "$(ls "$M/twins")"
same "$M/twins/K" <(text 50000)
pack_now
[ -e "$S/twins/K" ] && [ -e "$S/twins/K.zst" ] || fail "one of them is gone"
[ "$(stat_json .twins)" = 1 ] || fail "twins: $(stat_json .twins)"
sed -i 's/^2$/two/' "$M/twins/K" # writes another file and renames it over K
[ -e "$S/twins/K.zst" ] || fail "an edit took it"
mv "$M/twins/K" "$M/twins/K~"
(set -o noclobber && echo anew >"$M/twins/K") || fail "the name is not free"
zstd -tq "$M/twins/K.zst" || fail "the other does not show as itself"
same <(zstdcat "$M/twins/K.zst") <(text 50000)
[ "$(cat "$M/twins/K")" = anew ] || fail "$(cat "$M/twins/K")"
rm -r "$M/twins"
[ ! -e "$S/twins" ] || fail "left: $(ls "$S/twins")"
mnt_down
