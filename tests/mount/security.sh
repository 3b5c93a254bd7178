#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What others plant in the store leads nobody out of it and holds up nobody: symbolic links, FIFOs, sockets,
# device nodes, mounts, in the place of values, folders and control files; names that look like control files;
# who may do what under allow_other. SWAPS: how often a value and what stands for it change places.
. "$(dirname "$0")/harness.sh"
need jq zstd setpriv
[ "$(id -u)" = 0 ] || skip "needs root"
out=$T/out
mkdir "$out"
echo secret >"$out/secret"
text 100000 | zstd -q >"$out/secret.zst"
chmod 600 "$out"/*
out_is() { (cd "$out" && find . -printf '%P %y %s %m %n %T@\n' | sort && cat secret secret.zst | sha256sum); }
out_is >"$T/out.was"
out_stays() { out_is | cmp -s - "$T/out.was" || fail "changed outside of the store: $(out_is | diff "$T/out.was" -)"; }
as() { local u=$1; shift; setpriv --reuid="$u" --regid="$u" --clear-groups -- "$@"; }
soon() { timeout 30 "$@"; } # 124: it was held up

claim "neither set-user-id bits nor device nodes are honoured, unless root asks for it"
mk_store
flags() { awk -v m="$M" '$5 == m { print $6 }' /proc/self/mountinfo; }
mnt_up
case ,$(flags), in *,nosuid,*) ;; *) fail "$(flags)" ;; esac
case ,$(flags), in *,nodev,*) ;; *) fail "$(flags)" ;; esac
mnt_down
mnt_up -o suid,dev
case ,$(flags), in *,nosuid,* | *,nodev,*) fail "$(flags)" ;; esac
mnt_down

claim "what is planted before the mount shows as what it is, and is not opened"
mkdir -p "$S/d"
text 50000 >"$S/good"
ln -s "$out" "$S/dir"
ln -s "$out/secret" "$S/link"
ln -s "$out/secret.zst" "$S/packed.zst"
mkfifo "$S/fifo" "$S/pipe.zst" "$S/d/fifo"
mknod "$S/null" c 1 3
mknod "$S/zero.zst" c 1 5
mknod "$S/disk" b 7 99
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$S/socket"
mkdir "$S/mounted" "$S/d/mounted"
mount -t tmpfs none "$S/mounted"
mount --bind "$out" "$S/d/mounted"
mnt_up -o settle=0,coherence=0
[ "$(soon stat -c %F "$M/dir" "$M/link" "$M/fifo" "$M/null" "$M/disk" "$M/socket" | tr '\n' ,)" = \
	'symbolic link,symbolic link,fifo,character special file,block special file,socket,' ] ||
	fail "$(stat -c '%n %F' "$M"/*)"
soon ls -lR "$M" >"$T/list" 2>"$T/err" || true
[ "$(grep -vc 'mounted' "$T/err")" = 0 ] || fail "$(cat "$T/err")"
for m in mounted d/mounted; do
	! soon ls "$M/$m" >"$T/list" 2>"$T/err" || fail "$m is entered: $(cat "$T/list")"
	! (echo x >"$M/$m/new") 2>/dev/null || fail "made in $m"
	! cat "$M/$m/secret" 2>/dev/null || fail "read in $m"
	! rmdir "$M/$m" 2>/dev/null || fail "$m removed"
done
soon "$DISKVFS" pack "$M" >>"$T/log" 2>&1 || true
[ -e "$S/good.zst" ] || fail "what is good is not packed"
soon "$DISKVFS" unpack "$M" >>"$T/log" 2>&1 || true
soon "$DISKVFS" info "$M" >/dev/null || true
same "$M/good" <(text 50000)
soon "$DISKVFS" keys "$S" >"$T/list" 2>"$T/err" || [ $? != 124 ] || fail "keys hangs"
! grep -q secret "$T/list" || fail "keys: $(cat "$T/list")"
mkdir "$T/exported"
soon "$DISKVFS" export "$S" "$T/exported" >>"$T/log" 2>&1 || [ $? != 124 ] || fail "export hangs"
[ ! -e "$T/exported/mounted/secret" ] && [ ! -e "$T/exported/d/mounted/secret" ] || fail "exported from outside"
out_stays
umount "$S/mounted" "$S/d/mounted"
echo x >"$M/mounted/new" || fail "what is no mount any more"
mnt_down

claim "what takes the place of a value or a folder while the kernel remembers that is not followed"
mnt_up -o settle=0,coherence=60
mkdir "$M/folder"
text 50000 >"$M/folder/value"
echo 1 >"$M/value"
chmod 666 "$M/value"
"$DISKVFS" pack "$M" >>"$T/log"
cat "$M/value" "$M/folder/value" >/dev/null
mv "$S/folder" "$T/folder.was"
ln -s "$out" "$S/folder"
rm "$S/value"
ln -s "$out/secret" "$S/value"
! soon cat "$M/folder/secret" 2>/dev/null || fail "led out"
(soon sh -c 'echo x >"$0/folder/new"' "$M") 2>/dev/null || true # into the folder that it was, if anywhere
(soon sh -c 'echo overwritten >>"$0"; chmod 777 "$0"; truncate -s 0 "$0"; mv "$0" "$0.moved"' "$M/value") 2>/dev/null || true
(soon mv "$M/good" "$M/folder/secret") 2>/dev/null || true
soon setfattr -n user.x -v y "$M/folder" 2>/dev/null || true
for f in "$M/value" "$M/folder/value"; do soon sync "$f" 2>/dev/null || [ $? != 124 ] || fail "sync hangs"; done
out_stays
mnt_down
rm -rf "$S" "$T/folder.was"

claim "what changes places with a value again and again: its bytes, an error, never what it leads to"
mk_store
text 50000 >"$T/good"
mkdir "$S/d" "$T/spare"
for k in a d/b; do cp "$T/good" "$S/$k"; done
ln -s "$out/secret" "$T/spare/link"
mkfifo "$T/spare/fifo"
mnt_up -o settle=0,coherence=0
swaps=${SWAPS:-30}
(
	for i in $(seq "$swaps"); do
		for k in a d/b; do
			for f in link fifo; do
				cp -a "$T/spare/$f" "$T/tmp"
				mv -T "$T/tmp" "$S/$k"
				cp "$T/good" "$T/tmp"
				mv -T "$T/tmp" "$S/$k"
			done
		done
		mv "$S/d" "$S/e"
		ln -s "$out" "$S/d"
		rm "$S/d"
		mv "$S/e" "$S/d"
	done
	touch "$T/swapped"
) &
swapper=$!
while kill -0 $swapper 2>/dev/null; do
	for k in a d/b d/secret; do
		# Who reads follows a link himself, as on any filesystem, but this one may not read what is there.
		soon setpriv --reuid=65534 --regid=65534 --clear-groups dd if="$M/$k" iflag=nonblock status=none \
			>"$T/got" 2>/dev/null || [ $? != 124 ] || fail "$k hangs"
		[ ! -s "$T/got" ] || cmp -s "$T/got" "$T/good" || fail "$k: $(head -c 100 "$T/got")"
		rm -f "$T/got"
	done
	soon "$DISKVFS" pack "$M" >>"$T/log" 2>&1 || [ $? != 124 ] || fail "pack hangs"
done
wait
[ -e "$T/swapped" ] || fail "the swapping failed"
out_stays
mnt_down
rm -rf "$S"

claim "what another user's records say is not acted on, but by his own mount"
mk_store
mnt_up
text 50000 >"$M/a"
exec 7>"$M/a" # pending
echo new >&7
kill -KILL "$dv_pid"
dv_wait_end "$dv_pid" 20
exec 7>&-
umount -l "$M"
owner=$(ls "$S/.diskvfs/stage")
cp -a "$S" "$T/killed"
chown -R 65534 "$S/.diskvfs/stage/$owner"
"$DISKVFS" mount "$S" "$M" -f 2>"$T/err" &
until_true 30 is_mounted
same "$M/a" <(text 50000)
grep -q "work that a mount of user 65534 has left" "$T/err" || fail "not told: $(cat "$T/err")"
"$DISKVFS" unmount "$M"
wait $!
[ -s "$S/.diskvfs/stage/$owner/log" ] || fail "the record is gone"
chown -R 0 "$S/.diskvfs/stage/$owner"
mnt_up
[ "$(cat "$M/a")" = new ] || fail "not finished: $(head -c 100 "$M/a")"
mnt_down

claim "control files that are something else: one line, in time, nothing followed"
tries() { # tries TEXT COMMAND...: the store of the killed daemon, changed by COMMAND, is mounted or refused
	claim_now="$1"
	shift
	rm -rf "$S"
	cp -a "$T/killed" "$S"
	(cd "$S/.diskvfs" && eval "$*") || fail "$*"
	if soon "$DISKVFS" mount "$S" "$M" >"$T/err" 2>&1; then
		dv_pid=$(stat_json .pid)
		dv_watch "$dv_pid"
		soon cat "$M/a" >/dev/null 2>&1 || [ $? != 124 ] || fail "a hangs"
		mnt_down
	else
		[ $? != 124 ] || fail "mount hangs"
		[ "$(grep -c '' "$T/err")" -ge 1 ] || fail "no line"
		! is_mounted || fail "refused, and mounted"
	fi
	soon "$DISKVFS" info "$S" >/dev/null 2>&1 || [ $? != 124 ] || fail "info hangs"
	out_stays
}
for f in config "stage/$owner/owner" "stage/$owner/log" "stage/$owner/1" pack dict reshard/state; do
	tries "$f is a FIFO" "mkdir -p reshard; rm -f $f; mkfifo $f"
	tries "$f is a link" "mkdir -p reshard; rm -f $f; ln -s $out/secret $f"
	tries "$f is a folder" "mkdir -p reshard; rm -f $f; mkdir $f"
	tries "$f is a device" "mkdir -p reshard; rm -f $f; mknod $f c 1 5"
done
for f in stage "stage/$owner" lost reshard; do
	tries "$f is a link" "rm -rf $f; ln -s $out $f"
	tries "$f is a FIFO" "rm -rf $f; mkfifo $f"
done
tries ".diskvfs is a link" "mv ../.diskvfs ../moved; ln -s moved ../.diskvfs"
rm -rf "$S" "$T/killed"

claim "names like those of control files: in no spelling and place do they lead to them"
mk_store
mnt_up -o settle=0
cp "$S/.diskvfs/config" "$T/config"
for k in .diskvfs/x .diskvfs/config .diskvfs/stage/x ./.diskvfs/x d/../.diskvfs/x .diskvfs/../.diskvfs/x; do
	! (echo x >"$M/$k") 2>/dev/null || fail "made: $k"
done
mkdir "$M/d" "$M/d/.diskvfs" "$M/.diskvfs-mine" "$M/.DISKVFS"
for k in d/.diskvfs/config .diskvfs-mine/config .DISKVFS/config .diskvfs. '%2ediskvfs' ' .diskvfs' '.diskvfs '; do
	echo "$k" >"$M/$k" || fail "not made: $k"
	[ "$(cat "$M/$k")" = "$k" ] || fail "$k: $(cat "$M/$k")"
done
! mv "$M/d/.diskvfs" "$M/" 2>/dev/null || fail "moved over the folder"
! ln "$M/.diskvfs." "$M/.diskvfs/linked" 2>/dev/null || fail "linked into it"
! ln "$M/.diskvfs/stats" "$M/linked" 2>/dev/null || fail "linked from it"
! rm -r "$M/.diskvfs" 2>/dev/null || fail "removed"
chmod 777 "$M/.diskvfs/control" 2>/dev/null || true
[ "$(stat -c %a "$M/.diskvfs/control")" = 600 ] || fail "chmod"
mnt_down
mkdir "$S/%2ediskvfs" "$S/%2e." "$S/d/%2e"
echo planted | tee "$S/%2ediskvfs/control" "$S/%2ediskvfs/stats" >"$S/%2e./x"
mnt_up -o settle=0
ls -lR "$M" >"$T/listed"
! grep -q 'planted\|control$' "$T/listed" || fail "$(cat "$T/listed")"
[ "$(ls -A "$M" | grep -c '^\.diskvfs$')" = 0 ] || fail "listed: $(ls -A "$M")"
[ "$(stat_json .store)" = "$S" ] || fail "what is planted hides the counters"
mnt_down
rm -r "$S/%2ediskvfs" "$S/%2e." "$S/d/%2e"
for k in ../out/made /out/made d/../../made .diskvfs/made ./.diskvfs/made .. . ''; do
	echo x | soon "$DISKVFS" put "$S" "$k" >>"$T/log" 2>&1 || true
done
[ "$(find "$S/.diskvfs" -newer "$T/config" -type f ! -path '*/stage/*' | wc -l)" = 0 ] || fail "$(find "$S/.diskvfs" -newer "$T/config")"
mkdir -p "$T/tree/.diskvfs/stage" "$T/tree/sub"
echo x >"$T/tree/.diskvfs/config"
ln -s "$out" "$T/tree/sub/link"
mkfifo "$T/tree/sub/fifo"
soon "$DISKVFS" import "$S" "$T/tree/" >>"$T/log" 2>&1 || [ $? != 124 ] || fail "import hangs"
same "$S/.diskvfs/config" "$T/config"
out_stays
mkdir "$T/to"
ln -s "$out" "$T/to/sub" # what an export finds in its folder is not followed either
soon "$DISKVFS" export "$S" "$T/to" >>"$T/log" 2>&1 || [ $? != 124 ] || fail "export hangs"
out_stays

claim "under allow_other: what modes allow, owners as they call, commands for root alone"
mnt_up -o settle=0
mkdir -m 1777 "$M/shared"
mkdir -m 700 "$M/private"
echo mine >"$M/private/x"
as 65534 sh -c 'umask 027; echo "of nobody" >"$0/n"; mkdir "$0/nd"; ln -s x "$0/nl"; mkfifo "$0/nf"' "$M/shared"
[ "$(cd "$M/shared" && stat -c %u:%g:%a n nd nf | tr '\n' ' ')" = '65534:65534:640 65534:65534:750 65534:65534:640 ' ] ||
	fail "$(stat -c '%n %u:%g:%a' "$M/shared"/*)"
[ "$(stat -c %u "$S/shared/n" "$S/shared/nd" "$S/shared/nl" | sort -u)" = 65534 ] || fail "in the store"
pack_now
for c in 'cat private/x' 'ls private' 'rm shared/n' 'mv shared/n shared/m' 'sh -c "echo x >>shared/n"' \
	'cat shared/n' 'chmod 777 shared/n' 'chown 1:1 shared/n' 'setfattr -n user.x -v y shared/n' \
	'setfattr -n trusted.x -v y shared' 'touch -d 2000-01-01 shared/n' 'truncate -s 0 shared/n' \
	'mknod shared/dev c 1 3' 'sh -c "echo finish >.diskvfs/control"' 'cat .diskvfs/control' 'mkdir made'; do
	! (cd "$M" && as 1 sh -c "$c") >/dev/null 2>&1 || fail "user 1 may: $c"
done
[ "$(as 65534 cat "$M/shared/n")" = "of nobody" ] || fail "the owner may not read"
cp /bin/true "$M/shared/suid"
chown 65534 "$M/shared/suid" && chmod 6777 "$M/shared/suid"
as 1 sh -c 'echo x >>"$0"' "$M/shared/suid"
[ "$(stat -c %a "$M/shared/suid")" = 777 ] || fail "suid outlives a write: $(stat -c %a "$M/shared/suid")"
mnt_down
