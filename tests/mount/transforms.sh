#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each transform: the layout is computed here with shell tools alone, from the key and the transform,
# and compared with what lies in the store.
. "$(dirname "$0")/harness.sh"
need jq setfattr zstd sha256sum sha1sum md5sum

# Keys of which every part of the layout is plain to see, and those that only have to come back.
plain_keys=(a ab abc abcd abcabd abcdefgh 'with space' -dash 'new
line' $'\xff\xfe\x80' 'grüße' '*?[' "quote'\"" '\back\slash' .hidden x.zst x.zst.raw x.raw
)
long_keys=("$(printf 'n%.0s' {1..255})" "$(printf 'm%.0s' {1..252})" "$(printf 'o%.0s' {1..251})")
odd_keys=(%2e %252e %2e%2e % ..x ... .diskvfsx .diskvfs.zst %2ediskvfsx .zst .raw)

# raw_name KEY SUFFIX: the file name of the raw form.
raw_name() {
	local c=$1$2
	# `case` and not grep: a key may hold a newline.
	local rest=$c
	while [ "${rest%.raw}" != "$rest" ]; do rest=${rest%.raw}; done
	case $rest in *.zst) c=$c.raw ;; esac
	printf %s "$c"
}

# shards TRANSFORM KEY: the folders, each followed by a slash. Bytes, not characters.
shards() {
	local LC_ALL=C key=$2 w d digits i
	case $1 in
	split:*x*) w=${1#split:} d=${w#*x} w=${w%x*} ;;
	split:*) w=${1#split:} d=1000 ;;
	hash:*)
		w=${1##*:} d=${w#*x} w=${w%x*}
		digits=$(printf %s "$key" | "$(echo "$1" | cut -d: -f2)sum" | cut -c1-$((w * d)))
		key=$digits
		;;
	*) return 0 ;;
	esac
	for ((i = 0; i < d && (i + 1) * w <= ${#key}; i++)); do
		case ${key:i*w:w} in
		. | ..) printf '%%2e%s/' "${key:i*w+1:w-1}" ;;
		*) printf %s/ "${key:i*w:w}" ;;
		esac
	done
}

# Where must KEY lie, relative to the store? In $place.
place_of() { # TRANSFORM KEY packed|raw
	local suffix= name
	case $1 in path:*) suffix=${1#path:} ;; esac
	if [ "$3" = packed ]; then
		name=$2$suffix.zst
	else
		name=$(raw_name "$2" "$suffix"; echo .)
		name=${name%.}
	fi
	place=$(shards "$1" "$2"; echo .)
	place=${place%.}$name
}

check_key() { # TRANSFORM KEY packed|raw CONTENT_FILE
	place_of "$@"
	# No room for .zst in a name of at most 255 bytes: it stays raw.
	[ "$3" = raw ] || [ "$(LC_ALL=C; printf %s "${place##*/}" | wc -c)" -le 255 ] || place_of "$1" "$2" raw
	[ -f "$S/$place" ] || fail "$1: '$2' ($3) is not at '$place'"
	case $place in
	*.zst) zstdcat -- "$S/$place" | cmp - "$4" || fail "$1: '$2' holds other bytes" ;;
	*) cmp -- "$S/$place" "$4" || fail "$1: '$2' holds other bytes" ;;
	esac
	local said
	case $2 in
	-*) said=$("$DISKVFS" path -- "$S" "$2"; echo .) ;;
	*) said=$("$DISKVFS" path "$S" "$2"; echo .) ;;
	esac
	said=${said%$'\n'.}
	[ "${said#"$S"/}" = "$place" ] || fail "$1: path says '$said', it lies at '$place'"
}

text 60 >"$T/small"
text 30000 >"$T/big"

one_transform() {
	local t=$1 key keys=("${plain_keys[@]}")
	# A suffix leaves no room in the longest names.
	[ "$t" = path:.txt ] || keys+=("${long_keys[@]}")
	claim "$t: raw values lie where the hand-made layout says, and come back"
	S=$T/store.$RANDOM
	mk_store --transform "$t"
	mnt_up -o settle=600
	for key in "${keys[@]}" "${odd_keys[@]}"; do cp "$T/small" "$M/$key"; done
	for key in "${keys[@]}"; do
		check_key "$t" "$key" raw "$T/small"
	done
	list_is_whole "$t"

	claim "$t: packed values too"
	for key in "${keys[@]}" "${odd_keys[@]}"; do cp "$T/big" "$M/$key"; done
	pack_now
	for key in "${keys[@]}"; do
		check_key "$t" "$key" packed "$T/big"
	done

	claim "$t: all come back after a remount, each key once"
	mnt_down
	mnt_up -o settle=600
	for key in "${keys[@]}" "${odd_keys[@]}"; do same "$M/$key" "$T/big"; done
	list_is_whole "$t"
	all_zst_good
	case $t in
	split:*)
		diff <(LC_ALL=C ls -Ab -U "$M") <(LC_ALL=C ls -Ab "$M") || fail "not listed in the order of the keys"
		;;
	esac

	claim "$t: removed, nothing but .diskvfs is left in the store"
	for key in "${keys[@]}" "${odd_keys[@]}"; do rm -- "$M/$key"; done
	mnt_down
	[ "$(ls -A "$S")" = .diskvfs ] || fail "$t: left: $(ls -A "$S")"
}

list_is_whole() {
	(cd "$M" && find . -mindepth 1 -printf '%f\0' | sort -z) >"$T/listed"
	printf '%s\0' "${keys[@]}" "${odd_keys[@]}" | sort -z >"$T/wanted"
	cmp "$T/listed" "$T/wanted" ||
		fail "$1: the listing differs: $(diff <(tr '\0' '\n' <"$T/wanted") <(tr '\0' '\n' <"$T/listed"))"
}

for t in path flat path:.txt split:2 split:3 split:1x3 split:2x2 hash:sha256:2x2 hash:sha1:1x4 \
	hash:md5:2x2; do
	one_transform "$t"
done

claim "split:3: abc beside abcabc, in both orders, raw and packed"
for order in 'abc abcabc abcabcabc' 'abcabcabc abcabc abc'; do
	for content in small big; do
		S=$T/beside.$RANDOM
		mk_store --transform split:3
		mnt_up -o settle=600
		for key in $order; do cp "$T/$content" "$M/$key"; done
		for key in $order; do same "$M/$key" "$T/$content"; done
		[ -d "$S/abc/abc/abc" ] || fail "no folder abc/abc/abc"
		for key in $order; do stored "$key" | cmp - "$T/$content" || fail "$key in the store"; done
		pack_now
		for key in $order; do stored "$key" | cmp - "$T/$content" || fail "$key in the store, packed"; done
		echo more >>"$M/abc"
		cat "$T/$content" <(echo more) | cmp - "$M/abc" || fail "abc after an append"
		mnt_down
		mnt_up -o settle=600
		cat "$T/$content" <(echo more) | cmp - "$M/abc" || fail "abc after a remount"
		[ "$(ls -A "$M" | sort | tr '\n' ' ')" = 'abc abcabc abcabcabc ' ] || fail "listing: $(ls -A "$M")"
		rm "$M/abcabc" "$M/abcabcabc"
		cat "$T/$content" <(echo more) | cmp - "$M/abc" || fail "abc after the others went"
		mnt_down
	done
done

claim "flat namespaces have no folders, and say so"
for t in flat split:2 hash:md5:2x2; do
	S=$T/flat.$RANDOM
	mk_store --transform "$t"
	mnt_up
	mkdir "$M/d" 2>"$T/err" && fail "$t: mkdir works"
	grep -q 'Operation not permitted' "$T/err" || fail "$t: mkdir says $(cat "$T/err")"
	ln -s x "$M/l" 2>"$T/err" && fail "$t: symlink works"
	grep -q 'Operation not permitted' "$T/err" || fail "$t: symlink says $(cat "$T/err")"
	mnt_down
done

claim "names whose file in the store would be too long are refused; the mount's own attributes too"
S=$T/limits
mk_store
mnt_up
for suffix in .zst .zst.raw; do
	for bytes in 251 252 255; do
		key=$(head -c $((bytes - ${#suffix})) /dev/zero | tr '\0' n)$suffix
		for act in touch mkdir; do
			status=0
			$act "$M/$key" 2>"$T/err" || status=$?
			[ "$status" = $((bytes > 251)) ] || fail "$act of $bytes bytes with $suffix: status $status"
			if [ "$bytes" = 251 ]; then
				rm -r -- "$M/$key"
			else
				grep -q 'File name too long' "$T/err" || fail "$(cat "$T/err")"
			fi
		done
	done
done
cp "$T/small" "$M/a"
for name in user.diskvfs user.diskvfs.form user.diskvfs.x; do
	setfattr -n "$name" -v 1 "$M/a" 2>"$T/err" && fail "$name was set"
	grep -q 'Operation not permitted' "$T/err" || fail "$name: $(cat "$T/err")"
done
setfattr -n user.diskvfsx -v 1 "$M/a"
mnt_down

claim "another transform than the store's is refused; the same one is not"
S=$T/same
mk_store --transform split:2x2
mnt_up -o transform=split:2x2
mnt_down
status=0
"$DISKVFS" mount "$S" "$M" -o transform=split:2x3 2>"$T/err" || status=$?
[ "$status" = 32 ] || fail "status $status"
