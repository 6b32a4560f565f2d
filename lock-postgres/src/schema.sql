-- The schema `lock_store`, version 1.
--
-- Every operation is one statement. None waits for a lock of the store: rows are locked only until the end of a statement, and advisory
-- locks are only tried.
--
-- A session owns a lock if its number is in the row of `owner`, and it holds the advisory lock. Both are acquired and released while the
-- row is locked. The row says what the advisory lock, which ends with the session, cannot: that the owner has died. A free lock for
-- which nobody waits is acquired and released by an update of its row alone, without a function; see src/lock.rs.
--
-- Tables that only describe running sessions are unlogged: they need no disk write. A crash of the server empties them, and ends all
-- sessions. The table `marker` is emptied with them, which is how `lock_store.enter` notices the crash.

-- One row. `floor` is greater than every token of every pool that began before.
create table lock_store.meta (
    version integer not null,
    floor bigint not null
);
insert into lock_store.meta values (1, 0);

-- The two-integer keys of advisory locks start with the key of a pool, or with 1279983616 ('LK' and two zero bytes) for sessions.
create sequence lock_store.pool_key as integer start 1279983617 minvalue 1279983617;
create sequence lock_store.session_id as bigint;

create table lock_store.pool (
    key integer primary key,
    name text collate "C" not null unique,
    id uuid not null default gen_random_uuid(),
    -- Null: no bound except the number of ids.
    capacity bigint,
    -- The lowest id that `lock_store.take` has not reached.
    next bigint not null default 0,
    -- The floor of the pool's creation.
    born bigint not null,
    created timestamptz not null default now()
);

-- A row for each id that is or was allocated.
create table lock_store.lock (
    pool integer not null references lock_store.pool on delete cascade,
    id bigint not null,
    generation bigint not null default 1,
    is_allocated boolean not null default true,
    is_named boolean not null default false,
    label text collate "C" not null default '',
    allocator text,
    since timestamptz not null default now(),
    -- The value of `marker.floor` when the row was created.
    born bigint not null,
    primary key (pool, id)
);
create index lock_free on lock_store.lock (pool, id) where not is_allocated;
create unique index lock_name on lock_store.lock (pool, label) where is_named;

-- A row for each pool that was used since the latest crash, with the floor of its tokens.
create unlogged table lock_store.marker (
    pool integer primary key,
    floor bigint not null
);

-- A row for each lock that was used since the latest crash.
create unlogged table lock_store.owner (
    pool integer not null,
    id bigint not null,
    -- 0: free.
    session bigint not null default 0,
    token bigint not null,
    -- The number of tickets that were given to waiters.
    tickets bigint not null default 0,
    -- False only if no row of `waiter` is for this lock.
    is_queued boolean not null default false,
    holder text,
    -- The report for the next owner, or the report that the present owner has.
    death text,
    primary key (pool, id)
) with (fillfactor = 40);

create unlogged table lock_store.waiter (
    pool integer not null,
    id bigint not null,
    ticket bigint not null,
    session bigint not null,
    holder text not null,
    since timestamptz not null default now(),
    primary key (pool, id, ticket)
) with (fillfactor = 70);
create index waiter_session on lock_store.waiter (session);

-- Tokens from the new floor on are greater than all before. The clock helps where this table went back in time, as after a fail-over
-- to an asynchronous standby.
create function lock_store.new_floor() returns bigint
language sql volatile as $$
    update lock_store.meta
    set floor = greatest(floor + (1::bigint << 40), (extract(epoch from clock_timestamp()) * 1000000)::bigint)
    returning floor
$$;

-- A living session holds the advisory lock of its number. The lock is taken here only if the session has ended.
create function lock_store.is_alive(a_session bigint, a_own bigint) returns boolean
language sql volatile as $$
    select a_session = a_own or not pg_try_advisory_xact_lock_shared(1279983616, a_session::bit(32)::integer)
$$;

-- Starts a session: returns its number, whose advisory lock it holds.
create function lock_store.start() returns bigint
language plpgsql volatile as $$
declare
    number bigint;
begin
    loop
        number := nextval('lock_store.session_id');
        exit when pg_try_advisory_lock(1279983616, number::bit(32)::integer);
    end loop;
    return number;
end $$;

-- Makes the row of a lock in `owner`.
--
-- A lock that was used before a crash of the server gets the report of an unknown owner. Handles on a store that was destroyed still
-- exclude each other, also after the removal of another pool has removed the row.
create function lock_store.enter(a_pool integer, a_id bigint) returns void
language plpgsql volatile as $$
declare
    v_born bigint;
    v_floor bigint;
    v_lock_born bigint;
begin
    if exists (select from lock_store.owner o where o.pool = a_pool and o.id = a_id) then
        return;
    end if;
    select m.floor into v_floor from lock_store.marker m where m.pool = a_pool;
    if v_floor is null then
        -- Excludes other sessions that notice the crash.
        select p.born into v_born from lock_store.pool p where p.key = a_pool for update;
        select m.floor into v_floor from lock_store.marker m where m.pool = a_pool;
        if v_floor is null then
            v_floor := lock_store.new_floor();
            if v_born is not null then
                insert into lock_store.marker values (a_pool, v_floor);
            end if;
        end if;
    else
        select p.born into v_born from lock_store.pool p where p.key = a_pool;
    end if;
    select l.born into v_lock_born from lock_store.lock l where l.pool = a_pool and l.id = a_id;
    insert into lock_store.owner (pool, id, token, death)
    values (
        a_pool, a_id, v_floor,
        case when v_born < v_floor and v_lock_born is distinct from v_floor then '{"holder":null,"cause":"session_ended"}' end
    )
    on conflict do nothing;
end $$;

-- Tells the session of the first living waiter to try. Removes waiters whose sessions have ended.
create function lock_store.wake(a_pool integer, a_id bigint, a_session bigint) returns void
language plpgsql volatile as $$
declare
    w record;
begin
    for w in
        select q.ticket, q.session from lock_store.waiter q where q.pool = a_pool and q.id = a_id order by q.ticket
    loop
        if lock_store.is_alive(w.session, a_session) then
            perform pg_notify('lock_store_' || w.session, a_id || ' ' || w.ticket);
            return;
        end if;
        delete from lock_store.waiter q where q.pool = a_pool and q.id = a_id and q.ticket = w.ticket;
    end loop;
end $$;

-- Acquires a lock in any state, and joins its queue if `a_wait` and it is not free.
--
-- `status` is H: held by the caller with `token` and `death`; B: busy; F, W: waiting with `ticket`, as the first waiter or behind others.
create function lock_store.acquire(
    a_pool integer, a_key integer, a_id bigint, a_session bigint, a_holder text, a_wait boolean,
    out status text, out token bigint, out death text, out ticket bigint
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    owning bigint;
    w record;
begin
    perform lock_store.enter(a_pool, a_id);
    -- From here to the end of the statement the queue of this lock does not change, except that waiters may leave it.
    select o.session into owning from lock_store.owner o where o.pool = a_pool and o.id = a_id for update;
    status := 'F';
    for w in
        select q.ticket, q.session from lock_store.waiter q where q.pool = a_pool and q.id = a_id order by q.ticket
    loop
        if lock_store.is_alive(w.session, a_session) then
            status := 'W';
            exit;
        end if;
        delete from lock_store.waiter q where q.pool = a_pool and q.id = a_id and q.ticket = w.ticket;
    end loop;
    if status = 'F' and (owning = 0 or not lock_store.is_alive(owning, a_session)) and pg_try_advisory_lock(a_pool, a_key) then
        select h.token, h.death into token, death from lock_store.hold(a_pool, a_id, a_session, a_holder) h;
        status := 'H';
        return;
    end if;
    if not a_wait then
        status := 'B';
        return;
    end if;
    update lock_store.owner as o set tickets = o.tickets + 1, is_queued = true
    where o.pool = a_pool and o.id = a_id
    returning o.tickets into ticket;
    insert into lock_store.waiter (pool, id, ticket, session, holder) values (a_pool, a_id, ticket, a_session, a_holder);
end $$;

-- Records the caller as the owner of a lock whose advisory lock it has, and whose row it has locked.
create function lock_store.hold(
    a_pool integer, a_id bigint, a_session bigint, a_holder text, out token bigint, out death text
)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    update lock_store.owner as o
    set session = a_session, token = o.token + 1, holder = a_holder,
        is_queued = exists (select from lock_store.waiter q where q.pool = a_pool and q.id = a_id),
        death = case
            when o.session = 0 then o.death
            else '{"holder":' || coalesce(o.holder, 'null') || ',"cause":"session_ended"}'
        end
    where o.pool = a_pool and o.id = a_id
    returning o.token, o.death into token, death;
end $$;

-- Tries to acquire a lock for a waiter. `status` is as that of `lock_store.acquire`, or L: the ticket is gone.
create function lock_store.retry(
    a_pool integer, a_key integer, a_id bigint, a_session bigint, a_holder text, a_ticket bigint,
    out status text, out token bigint, out death text
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    w record;
    owning bigint;
begin
    if not exists (select from lock_store.waiter q where q.pool = a_pool and q.id = a_id and q.ticket = a_ticket) then
        status := 'L';
        return;
    end if;
    for w in
        select q.ticket, q.session from lock_store.waiter q
        where q.pool = a_pool and q.id = a_id and q.ticket < a_ticket order by q.ticket
    loop
        if lock_store.is_alive(w.session, a_session) then
            status := 'W';
            return;
        end if;
        delete from lock_store.waiter q where q.pool = a_pool and q.id = a_id and q.ticket = w.ticket;
    end loop;
    status := 'F';
    select o.session into owning from lock_store.owner o where o.pool = a_pool and o.id = a_id for update;
    if (owning <> 0 and lock_store.is_alive(owning, a_session)) or not pg_try_advisory_lock(a_pool, a_key) then
        return;
    end if;
    delete from lock_store.waiter q where q.pool = a_pool and q.id = a_id and q.ticket = a_ticket;
    select h.token, h.death into token, death from lock_store.hold(a_pool, a_id, a_session, a_holder) h;
    status := 'H';
end $$;

-- Lists the waiters of a session, to find those that no release notifies, because an owner or an earlier waiter has died. `rank` is 0 for
-- the first waiter of a lock that is free, 1 for the first one of a lock that is held, and 2 for the others.
create function lock_store.survey(a_pool integer, a_session bigint)
returns table (id bigint, ticket bigint, rank integer)
language sql volatile as $$
    select q.id, q.ticket,
        case
            when exists (
                select from lock_store.waiter p
                where p.pool = q.pool and p.id = q.id and p.ticket < q.ticket and lock_store.is_alive(p.session, a_session)
            ) then 2
            when o.session <> 0 and lock_store.is_alive(o.session, a_session) then 1
            else 0
        end
    from lock_store.waiter q join lock_store.owner o on o.pool = q.pool and o.id = q.id
    where q.pool = a_pool and q.session = a_session
$$;

-- Ends a wait. The next waiter gets the notification that this one may have got.
create function lock_store.leave(a_pool integer, a_id bigint, a_session bigint, a_ticket bigint) returns void
language plpgsql volatile as $$
declare
    v_owner bigint;
begin
    select o.session into v_owner from lock_store.owner o where o.pool = a_pool and o.id = a_id for update;
    delete from lock_store.waiter q
    where q.pool = a_pool and q.id = a_id and q.ticket = a_ticket and q.session = a_session;
    if v_owner = 0 then
        perform lock_store.wake(a_pool, a_id, a_session);
    end if;
    update lock_store.owner o
    set is_queued = exists (select from lock_store.waiter q where q.pool = a_pool and q.id = a_id)
    where o.pool = a_pool and o.id = a_id;
end $$;

-- Undoes an acquisition whose statement failed. The transaction of that statement was rolled back, but not its advisory lock.
create function lock_store.abandon(a_pool integer, a_key integer, a_id bigint, a_session bigint) returns void
language plpgsql volatile as $$
begin
    if not exists (select from lock_store.owner o where o.pool = a_pool and o.id = a_id and o.session = a_session)
        and exists (
            select from pg_locks k
            where k.locktype = 'advisory' and k.classid = a_pool::oid and k.objid = a_key::bit(32)::bigint::oid and k.objsubid = 2
                and k.pid = pg_backend_pid()
        )
    then
        perform pg_advisory_unlock(a_pool, a_key);
    end if;
end $$;

-- Returns the holder of a lock, as JSON, if a living session holds it.
create function lock_store.holder(a_pool integer, a_id bigint) returns text
language sql volatile as $$
    select o.holder from lock_store.owner o
    where o.pool = a_pool and o.id = a_id and o.session <> 0 and lock_store.is_alive(o.session, 0)
$$;

-- Returns the number of waiters of a lock with living sessions.
create function lock_store.waiters(a_pool integer, a_id bigint) returns bigint
language sql volatile as $$
    select count(*) from lock_store.waiter q
    where q.pool = a_pool and q.id = a_id and lock_store.is_alive(q.session, 0)
$$;

-- Creates a pool, unless one has the name. `created` tells which.
create function lock_store.create_pool(a_name text, a_capacity bigint, out created boolean)
language plpgsql volatile as $$
declare
    v_key integer;
    v_floor bigint;
begin
    created := false;
    if exists (select from lock_store.pool p where p.name = a_name) then
        return;
    end if;
    v_floor := lock_store.new_floor();
    insert into lock_store.pool (key, name, capacity, born)
    values (nextval('lock_store.pool_key'), a_name, a_capacity, v_floor)
    on conflict (name) do nothing
    returning key into v_key;
    if v_key is not null then
        created := true;
        insert into lock_store.marker values (v_key, v_floor);
    end if;
end $$;

-- Removes a pool. The rows of held locks stay, so that their owners can release them; the next removal of a pool removes them.
create function lock_store.destroy_pool(a_pool integer, a_id uuid) returns boolean
language plpgsql volatile as $$
declare
    v_found boolean;
begin
    delete from lock_store.pool p where p.key = a_pool and p.id = a_id;
    v_found := found;
    delete from lock_store.marker m where not exists (select from lock_store.pool p where p.key = m.pool);
    delete from lock_store.owner o
    where not exists (select from lock_store.pool p where p.key = o.pool)
        and not o.is_queued and (o.session = 0 or not lock_store.is_alive(o.session, 0));
    return v_found;
end $$;

-- Raises LK404 if the pool is not there. Returns the value of `lock.born` for new rows.
create function lock_store.present(a_pool integer) returns bigint
language plpgsql volatile as $$
declare
    v_floor bigint;
begin
    select coalesce(m.floor, 0) into v_floor
    from lock_store.pool p left join lock_store.marker m on m.pool = p.key
    where p.key = a_pool;
    if v_floor is null then
        raise exception 'the pool was destroyed' using errcode = 'LK404';
    end if;
    return v_floor;
end $$;

-- Returns the generation of an id: 0 if it was never allocated.
create function lock_store.generation(a_pool integer, a_id bigint) returns bigint
language plpgsql volatile as $$
begin
    perform lock_store.present(a_pool);
    return coalesce((select l.generation from lock_store.lock l where l.pool = a_pool and l.id = a_id), 0);
end $$;

-- Raises `pool.next` to the lowest id from there on that has no row.
--
-- Such rows come from the allocation of given ids, which does not change `next`.
create function lock_store.skip(a_pool integer) returns void
language plpgsql volatile as $$
declare
    v_next bigint;
    v_id bigint;
begin
    select p.next into v_next from lock_store.pool p where p.key = a_pool;
    for v_id in
        select l.id from lock_store.lock l where l.pool = a_pool and l.id >= v_next order by l.id
    loop
        exit when v_id <> v_next;
        v_next := v_next + 1;
    end loop;
    update lock_store.pool p set next = v_next where p.key = a_pool and p.next < v_next;
end $$;

-- Allocates a free id. `id` is null if none is free.
create function lock_store.take(
    a_pool integer, a_label text, a_named boolean, a_allocator text, out id bigint, out generation bigint
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    v_born bigint := lock_store.present(a_pool);
    v_waits boolean := false;
    v_next bigint;
    v_all bigint;
begin
    loop
        -- An id that was freed.
        if v_waits then
            select l.id into id from lock_store.lock l
            where l.pool = a_pool and not l.is_allocated order by l.id limit 1 for update;
        else
            select l.id into id from lock_store.lock l
            where l.pool = a_pool and not l.is_allocated order by l.id limit 1 for update skip locked;
        end if;
        if id is not null then
            update lock_store.lock l
            set is_allocated = true, is_named = a_named, label = a_label, allocator = a_allocator, since = now(),
                generation = l.generation + 1
            where l.pool = a_pool and l.id = take.id and not l.is_allocated
            returning l.generation into generation;
            if found then
                return;
            end if;
            continue;
        end if;
        -- An id that was never allocated.
        update lock_store.pool p set next = p.next + 1
        where p.key = a_pool and p.next < coalesce(p.capacity, 4294967296)
        returning p.next - 1 into v_next;
        if found then
            insert into lock_store.lock (pool, id, is_named, label, allocator, born)
            values (a_pool, v_next, a_named, a_label, a_allocator, v_born)
            on conflict (pool, id) do nothing
            returning id, generation into id, generation;
            if id is not null then
                return;
            end if;
            perform lock_store.skip(a_pool);
            continue;
        end if;
        -- The row of a free id may be locked by a transaction that fails. So the second scan waits for it.
        if v_waits then
            id := null;
            return;
        end if;
        v_waits := true;
    end loop;
end $$;

-- Allocates an id, unless it is allocated.
create function lock_store.take_exact(
    a_pool integer, a_id bigint, a_label text, a_allocator text
) returns boolean
language plpgsql volatile as $$
declare
    v_born bigint := lock_store.present(a_pool);
begin
    insert into lock_store.lock as l (pool, id, label, allocator, born) values (a_pool, a_id, a_label, a_allocator, v_born)
    on conflict (pool, id) do update
    set is_allocated = true, label = a_label, allocator = a_allocator, since = now(), generation = l.generation + 1
    where not l.is_allocated;
    return found;
end $$;

-- Returns the id with a name, and allocates one if there is none. `id` is null if none is free.
create function lock_store.take_named(
    a_pool integer, a_name text, a_allocator text, out id bigint, out generation bigint
)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    perform lock_store.present(a_pool);
    loop
        select l.id, l.generation into id, generation from lock_store.lock l
        where l.pool = a_pool and l.label = a_name and l.is_named;
        if found then
            return;
        end if;
        begin
            select t.id, t.generation into id, generation from lock_store.take(a_pool, a_name, true, a_allocator) t;
            return;
        exception when unique_violation then
            -- Another session has allocated the name meanwhile.
        end;
    end loop;
end $$;

-- Frees an id. Returns F: freed; N: not allocated; S: it has another generation.
create function lock_store.free(a_pool integer, a_id bigint, a_generation bigint) returns text
language plpgsql volatile as $$
declare
    v_generation bigint;
begin
    perform lock_store.present(a_pool);
    update lock_store.lock l set is_allocated = false, is_named = false, label = '', allocator = null
    where l.pool = a_pool and l.id = a_id and l.is_allocated and (a_generation is null or l.generation = a_generation);
    if found then
        return 'F';
    end if;
    select l.generation into v_generation from lock_store.lock l
    where l.pool = a_pool and l.id = a_id and l.is_allocated;
    return case when v_generation is null then 'N' else 'S' end;
end $$;

-- Frees every id, and returns the number of ids that were allocated.
create function lock_store.free_all(a_pool integer) returns bigint
language plpgsql volatile as $$
declare
    v_freed bigint;
begin
    perform lock_store.present(a_pool);
    update lock_store.lock l set is_allocated = false, is_named = false, label = '', allocator = null
    where l.pool = a_pool and l.is_allocated;
    get diagnostics v_freed = row_count;
    return v_freed;
end $$;

-- Allocates and frees ids, so that exactly these ids are allocated. `change` is A or F.
create function lock_store.reconcile(a_pool integer, a_ids bigint[], a_labels text[], a_allocator text)
returns table (change text, id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    v_born bigint := lock_store.present(a_pool);
begin
    return query
        update lock_store.lock l set is_allocated = false, is_named = false, label = '', allocator = null
        where l.pool = a_pool and l.is_allocated and not exists (select from unnest(a_ids) as wanted (id) where wanted.id = l.id)
        returning 'F', l.id;
    return query
        insert into lock_store.lock as l (pool, id, label, allocator, born)
        select a_pool, wanted.id, wanted.label, a_allocator, v_born from unnest(a_ids, a_labels) as wanted (id, label)
        order by wanted.id
        on conflict (pool, id) do update
        set is_allocated = true, label = excluded.label, allocator = a_allocator, since = now(), generation = l.generation + 1
        where not l.is_allocated
        returning 'A', l.id;
    -- So that the next allocation need not.
    perform lock_store.skip(a_pool);
end $$;
