#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# PostgreSQL: a cluster on the mount; pgbench; the server crashes, then the daemon does.
. "$(dirname "$0")/apps.sh"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
[ -x "${bin:-/}/initdb" ] || skip "PostgreSQL is not installed"
[ "$(id -u)" = 0 ] || skip "needs root, to be another user"
id postgres >/dev/null 2>&1 || skip "no user postgres"
as_pg() { setpriv --reuid=postgres --regid=postgres --init-groups env PATH="$bin:$PATH" HOME="$T" "$@"; }
sql() { as_pg psql -qAtX -h "$T/run" -d postgres -c "$1"; }
pg_up() {
	as_pg pg_ctl -w -t 60 -D "$M/pg" -l "$T/pg.log" \
		-o "-k $T/run -c listen_addresses= -c shared_buffers=4MB -c checkpoint_timeout=30s -c max_wal_size=48MB" \
		start >"$T/out" 2>&1 || { tail -n 30 "$T/pg.log"; fail "the server does not start"; }
}
sums() { sql "select sum(abalance) = (select sum(bbalance) from pgbench_branches) and
	sum(abalance) = (select coalesce(sum(delta), 0) from pgbench_history) from pgbench_accounts"; }

mkdir "$T/run"
install -o postgres -m 666 /dev/null "$T/pg.log"
chown postgres "$T/run"
app_up
install -d -o postgres -m 700 "$M/pg"
claim "initdb, pgbench, the server crashes and recovers"
as_pg initdb -A trust -D "$M/pg" >"$T/out" 2>&1 || { tail "$T/out"; fail initdb; }
pg_up
as_pg pgbench -h "$T/run" -q -i -s 1 postgres >"$T/out" 2>&1 || { tail "$T/out"; fail pgbench; }
as_pg pgbench -h "$T/run" -c 2 -T $((2 * APPS_SCALE)) postgres >"$T/out" 2>&1 || { tail "$T/out"; fail pgbench; }
[ "$(sums)" = t ] || fail "sums differ"
pack_now
as_pg pg_ctl -D "$M/pg" -m immediate stop >/dev/null
pack_now
pg_up
[ "$(sums)" = t ] || fail "sums differ after a crash of the server"

claim "the daemon is killed under load; after recovery every acknowledged transaction is there"
as_pg pgbench -h "$T/run" -n -c 2 -T 60 postgres >"$T/bench" 2>&1 &
bench=$!
sleep $((2 * APPS_SCALE))
server=$(head -n 1 "$M/pg/postmaster.pid")
before=$(sql 'select count(*) from pgbench_history')
kill -KILL "$dv_pid"
kill -QUIT "$server" # at once, and its children with it
wait $bench || true
dv_wait_end "$server" 20 || kill -KILL "$server"
umount -l "$M"
app_up
rm -f "$M/pg/postmaster.pid"
pg_up
[ "$(sums)" = t ] || fail "sums differ after a crash of the daemon"
[ "$(sql 'select count(*) from pgbench_history')" -ge "$before" ] || fail "transactions are lost"
as_pg pg_ctl -D "$M/pg" -m fast stop >/dev/null
pack_now
pg_up
sql "reindex database postgres"
sql "vacuum full"
[ "$(sums)" = t ] || fail "sums differ after vacuum full"
as_pg pg_ctl -D "$M/pg" -m fast stop >/dev/null
app_end
