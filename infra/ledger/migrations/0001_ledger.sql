-- The ledger: the one truth about requests, runs, steps, leases and what is still to be told.
-- Unique indexes, not hope: what must not happen twice cannot be written twice.

create table identity (
    singleton boolean primary key default true check (singleton),
    ledger uuid not null default gen_random_uuid()
);
insert into identity default values;
comment on table identity is 'which ledger wrote a resource; orphans of other ledgers are never touched';

-- Filled from policy.lifecycle at every migration; the trigger below lets nothing else through.
create table transition (
    from_status text not null,
    from_outcome text not null,
    to_status text not null,
    to_outcome text not null,
    primary key (from_status, from_outcome, to_status, to_outcome)
);

create table request (
    number integer generated always as identity primary key,
    kind text not null check (kind in ('refresh', 'upgrade', 'undo', 'engine')),
    customer text not null,
    environment text not null,
    site text not null generated always as (customer || '/' || environment) stored,
    webapp text not null,
    version text,
    refresh boolean not null,
    asked_by text not null,
    asked_at timestamptz not null,
    not_before timestamptz,
    start_by timestamptz,
    scheduled_for timestamptz,
    status text not null default 'To Be Scheduled' check (status in (
        'To Be Scheduled', 'Scheduled', 'Not Started', 'In Progress', 'Completed',
        'Pending Input', 'Deferred', 'New Version Requested', 'Unable to Complete')),
    outcome text check (outcome in ('done', 'put_back', 'stuck', 'cancelled', 'superseded', 'expired')),
    attempt integer not null default 0,
    undoes integer references request,
    superseded_by integer references request,
    campaign text,
    reason text not null default '',
    note text not null default '',
    question text,
    answer text,
    deleted_at timestamptz,
    check ((outcome is not null) = (status in ('Completed', 'New Version Requested', 'Unable to Complete'))),
    check (kind <> 'upgrade' or version is not null)
);
create unique index one_waiting_request_per_site_and_kind on request (customer, environment, kind)
    where status in ('To Be Scheduled', 'Scheduled', 'Deferred', 'Pending Input');
create index open_requests on request (number) where outcome is null;

create function guard_status() returns trigger language plpgsql as $$
begin
    if (old.status, old.outcome) is distinct from (new.status, new.outcome) and not exists (
        select from transition
        where from_status = old.status and from_outcome = coalesce(old.outcome, '')
          and to_status = new.status and to_outcome = coalesce(new.outcome, '')
    ) then
        raise exception 'R%: a request cannot go from % (%) to % (%)',
            old.number, old.status, coalesce(old.outcome, '-'), new.status, coalesce(new.outcome, '-')
            using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger only_along_the_table before update on request for each row execute function guard_status();

create function guard_birth() returns trigger language plpgsql as $$
begin
    if new.status <> 'To Be Scheduled' then
        raise exception 'a request is born To Be Scheduled' using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger born_to_be_scheduled before insert on request for each row execute function guard_birth();

create table intake (
    digest text primary key,
    received_at timestamptz not null default now(),
    principal text not null,
    request integer references request,
    refused text,
    check ((request is null) <> (refused is null))
);
comment on table intake is 'one row per message digest: the same message gives the same answer, and one run';

create table run (
    id text primary key,
    request integer not null references request,
    attempt integer not null,
    webapp text not null,
    direction text not null default 'forward' check (direction in ('forward', 'back')),
    state text not null default 'live' check (state in ('live', 'ended', 'stuck')),
    cause text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    report text,
    unique (request, attempt),
    check ((state = 'ended') = (ended_at is not null))
);
create unique index one_live_run_per_web_application on run (webapp) where state <> 'ended';

create table run_database (
    run text not null references run,
    server text not null,
    database text not null,
    live boolean not null default true,
    primary key (run, server, database)
);
create unique index one_live_run_per_database on run_database (server, database) where live;

create table lease (
    webapp text primary key,
    epoch bigint not null,
    run text references run,
    holder text,
    renewed_at timestamptz not null
);
comment on table lease is 'the epoch only grows; whoever cannot prove the newest one touches nothing';

create table step (
    run text not null references run,
    name text not null,
    position integer not null,
    state text not null check (state in ('intended', 'done', 'undoing', 'undone', 'undo_failed')),
    epoch bigint not null,
    facts jsonb not null default '{}',
    error text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    seconds double precision,
    undo_seconds double precision,
    primary key (run, name)
);

create table event (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    request integer references request,
    run text,
    verb text not null,
    actor text not null,
    from_status text,
    to_status text,
    outcome text,
    reason text not null default '',
    detail jsonb not null default '{}'
);
create index events_of_a_request on event (request, id);
create function append_only() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only' using errcode = 'check_violation';
end $$;
create trigger events_stay before update or delete on event for each row execute function append_only();
create trigger events_are_not_emptied before truncate on event execute function append_only();

create table outbox (
    id bigint generated always as identity primary key,
    channel text not null check (channel in ('mail', 'status', 'webhook')),
    key text not null unique,
    request integer references request,
    payload jsonb not null,
    created_at timestamptz not null default now(),
    due_at timestamptz not null default now(),
    attempts integer not null default 0,
    last_error text,
    sent_at timestamptz,
    given_up_at timestamptz
);
create index outbox_due on outbox (due_at) where sent_at is null and given_up_at is null;

create table observation (
    id bigint generated always as identity primary key,
    run text not null references run,
    customer text not null,
    environment text not null,
    kind text not null,
    step text not null,
    seconds double precision not null,
    bytes bigint,
    at timestamptz not null default now()
);
create index observations_of_a_site on observation (customer, environment, kind, step, at desc);

create table certificate (
    id bigint generated always as identity primary key,
    customer text not null,
    application text not null,
    version text not null,
    lock_sha256 text not null,
    schema_digest text not null,
    data_time timestamptz not null,
    passed boolean not null,
    expires_at timestamptz not null,
    report jsonb not null,
    at timestamptz not null default now()
);

create table installed (
    webapp text primary key,
    version text not null,
    lock_sha256 text not null,
    run text references run,
    since timestamptz not null default now()
);

create table known_bad (
    webapp text not null,
    version text not null,
    lock_sha256 text not null,
    run text not null references run,
    at timestamptz not null default now(),
    acknowledged_at timestamptz,
    primary key (webapp, version, lock_sha256)
);

create table pause (
    scope text primary key,
    reason text not null check (reason <> ''),
    by text not null,
    at timestamptz not null default now(),
    until timestamptz
);

create table loop (
    name text primary key,
    holder text not null,
    beat_at timestamptz not null default now()
);
comment on table loop is 'the long-lived parts (intake, dispatch, deliver) and when each was last alive';

create table chore (
    name text primary key,
    done_at timestamptz not null,
    mark text not null default ''
);
comment on table chore is 'what is done now and then: when it was done last, and what it had seen by then';

create table eta (
    id bigint generated always as identity primary key,
    request integer not null references request,
    told_at timestamptz not null,
    start timestamptz not null,
    low timestamptz not null,
    high timestamptz not null,
    moves integer not null default 0,
    ended_at timestamptz,
    error_s double precision,
    check ((ended_at is null) = (error_s is null))
);
create unique index one_open_promise_per_request on eta (request) where ended_at is null;
comment on table eta is 'what was promised when a date was first told, and by how much that was missed';

create table campaign (
    name text primary key,
    group_name text not null,
    environment text not null,
    version text not null,
    soak_s double precision not null check (soak_s >= 0),
    parallel integer not null check (parallel > 0),
    failures integer not null check (failures > 0),
    share double precision not null check (share > 0 and share <= 1),
    from_ended integer not null check (from_ended > 0),
    canary_failures integer not null check (canary_failures > 0),
    paused text not null default '',
    begun_by text not null,
    begun_at timestamptz not null,
    done_at timestamptz,
    stage_told text not null default ''
);
create unique index one_open_campaign_per_group on campaign (group_name, environment) where done_at is null;

create table campaign_member (
    campaign text not null references campaign,
    customer text not null,
    ring integer not null check (ring >= 0),
    progress text not null check (progress in (
        'waiting', 'under way', 'done', 'put back', 'stuck', 'missed', 'excluded')),
    request integer references request,
    ended_at timestamptz,
    reason text not null default '',
    forgiven boolean not null default false,
    primary key (campaign, customer)
);

create table recurrence (
    id integer generated always as identity primary key,
    customer text not null,
    environment text not null,
    asked_by text not null,
    which text not null check (which in ('every', 'every-other', 'first', 'second', 'third', 'fourth', 'last')),
    day text not null check (day in ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun')),
    start time not null,
    zone text not null,
    since date not null,
    until date,
    skipped date[] not null default '{}',
    made_at timestamptz not null,
    ended_at timestamptz
);
create unique index one_recurrence_per_site on recurrence (customer, environment) where ended_at is null;

create table recurrence_date (
    recurrence integer not null references recurrence,
    day date not null,
    request integer references request,
    reason text not null default '',
    primary key (recurrence, day)
);
comment on table recurrence_date is 'the request of each date, or why it could not be asked for so far';

create view open_question as
    select request.number as request, max(event.id) as event
    from request join event on event.request = request.number and event.verb = 'ask'
    where request.status = 'Pending Input' and request.deleted_at is null
    group by request.number;

create table form (
    request integer not null references request,
    event bigint not null,
    flow_run text not null,
    closed_at timestamptz,
    primary key (request, event)
);
comment on table form is 'which Prefect run waits for the answer to which question';

create table golden_build (
    number integer primary key generated always as identity,
    customer text not null,
    server text not null,
    holder text not null,
    begun_at timestamptz not null,
    renewed_at timestamptz not null default now(),
    ended_at timestamptz,
    outcome text check (outcome in ('built', 'failed', 'lost')),
    reason text not null default '',
    facts jsonb not null default '{}',
    check ((ended_at is null) = (outcome is null))
);
create unique index one_golden_build_at_once on golden_build (customer, server) where ended_at is null;
comment on table golden_build is 'who makes golden images, and how that ended; the images tell the rest themselves';

create table display (
    request integer not null references request,
    key text primary key,
    flow_run text not null,
    scheduled_for timestamptz,
    made_at timestamptz not null default clock_timestamp(),
    withdrawn_at timestamptz
);
comment on table display is 'which Prefect run shows which start of which request; never consulted for what is true';
