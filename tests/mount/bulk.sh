#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What lies in the store while much is copied into it: at most 1.35 times what lies there at last, and
# writers wait for that. BULK_MB: plain bytes that are copied (3072), which pack to a quarter.
. "$(dirname "$0")/harness.sh"
need jq mkfs.ext4 python3
[ "$(id -u)" = 0 ] || skip "a loop image needs root"
: "${BULK_MB:=3072}"

disk=$T/disk
mkdir "$disk"
truncate -s $((BULK_MB + 1000))M "$T/image"
mkfs.ext4 -q -m 0 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$T/image"
mount -o loop,discard "$T/image" "$disk" || skip "no loop devices here"
S=$disk/store
mk_store
mnt_up -o settle=3600

claim "$BULK_MB MiB of files of 4 to 64 KiB, and larger ones: worst moment and end"
python3 - "$M" "$disk" "$BULK_MB" >"$T/worst" <<'END'
import os, random, sys
mount, disk, want = sys.argv[1], sys.argv[2], int(sys.argv[3]) << 20
random.seed(1)
def lines(): # short phrases, some of them often, as in a source: packs to a quarter
    phrases = [b" ".join(bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz_(", k=random.randint(2, 9)))
                         for i in range(5)) for j in range(200)]
    for i in range(150000):
        yield b"%s%06x;\n" % (phrases[min(int(random.expovariate(0.04)), 199)], random.getrandbits(24))
text = b"".join(lines())
def used():
    s = os.statvfs(disk)
    return (s.f_blocks - s.f_bfree) * s.f_frsize
first = worst = used()
done = n = 0
while done < want:
    size = int(4096 * 2 ** (random.uniform(0, 4) if random.random() < 0.96 else random.uniform(4, 10)))
    if n % 200 == 0:
        os.mkdir("%s/%d" % (mount, n // 200))
    at = random.randrange(len(text) - size)
    with open("%s/%d/%d" % (mount, n // 200, n), "wb", buffering=0) as f:
        for i in range(0, size, 131072):
            f.write(text[at + i:at + min(size, i + 131072)])
    done += size
    n += 1
    worst = max(worst, used())
print(first, worst, done)
END
read -r first worst plain <"$T/worst"
pack_now
sync -f "$disk"
end=$(stat -f -c '%b %f %S' "$disk" | awk '{ print ($1 - $2) * $3 }')
end=$((end - first)) worst=$((worst - first))
echo "  $((plain >> 20)) MiB plain, at worst $((worst >> 20)) MiB, at last $((end >> 20)) MiB"
[ $((worst * 100)) -le $((end * 135)) ] || fail "more than 1.35 times as much"
[ $((end * 2)) -le "$plain" ] || fail "it does not pack as it is to"
mnt_down
umount "$disk"
