/*
 * The lease rule: a request that arrives BOUND ticks after the commit of a revoke, or later, is
 * not accepted, whatever fails.
 *
 * One secret, one revoke, one Redis. One validator, the witness, is watched for what it accepts.
 * FILLERS more validators are watched only for what they do to Redis. Near-caches are private and
 * all validators run the same code, so one witness stands for all.
 *
 * Time is kept as ages, "now - stamp". They grow together with each tick, and stop where nothing
 * can tell them apart any more. So the states are finite although time is not: a search without
 * errors covers runs of every length, with any number of faults.
 *
 * A step that may happen may also happen at any later tick, or never. That is how a crash, a pause,
 * a lost message and a slow reader are written down.
 *
 * A comment such as <file> `<code>` names the line that a step stands for; a test checks that the
 * line is still there.
 *
 * Defined by -D (README.md tells what the tests run):
 *   L          the lease in ticks
 *   BOUND      ticks after the commit from which nothing may be accepted
 *   FILLERS    validators beside the witness
 *   ACCOUNT    the revoke is an account's cut-off, not one token's drop
 *   STEP       ticks by which Redis' clock may go back at once, or by fewer; 0 without it
 *   STEPS      how often it may go back; 1 without it
 *   SILENCE    ticks in a row that may pass without a report; 0 without it
 *   PROMPT     instead of the bound: once Redis has run a drop, it answers nothing from before it
 * and the mutants, each with a part of the rule broken: DELETE_AND_TTL, TOMBSTONE_AND_TTL,
 * NEAR_RESTARTS, LANDING_UNCHECKED, NO_EPOCH, NO_TOMBSTONE, STEP_UNSEEN (a clock that goes back
 * begins no epoch), DROPS_OF_ANY_EPOCH; RESTORE_ACROSS_STEP is one fault more.
 *
 * A tick is as long as a step may be that is never seen: the rhythm of the reports and the 5 ms that
 * a step may have. It is about a quarter of a second.
 */

#ifndef STEP
#define STEP 0
#endif
#ifndef STEPS
#define STEPS 1
#endif
#ifndef SILENCE
#define SILENCE 0
#endif

/* Two simpler designs, at their best: each drop is run at once, and Redis loses nothing. */
#if defined(DELETE_AND_TTL) || defined(TOMBSTONE_AND_TTL)
#define TTL_FROM_SET
#define OLDEST (2 * L)
#else
/* At this age a stamp is older than any lease, whatever the clock may still go back. */
#define OLDEST (L + BACK)
#endif
#define BACK (STEP * steps)
#define NONE (2 * L + STEP * STEPS + 1)

#define NOTHING 0
#define LIVE 1
#define DROPPED 2

byte steps = STEPS;                 /* how often Redis' clock may still go back */
byte each = FILLERS + 1;            /* of a loop, and as every loop leaves it */

typedef Redis {
    byte entry;                     /* the state of tk:<digest> */
    bool outdated;                  /* LIVE, and its record was read before the revoke */
    short age;                      /* of its as-of */
    short cut_off_age = L + STEP * STEPS;   /* of cut:<account>; OLDEST is as good as none */
    short seen_age;                 /* of rv's "seen"; BACK is as good as none */
    byte readers                    /* bit v: validator v has had a miss of the epoch of rv */
};

Redis redis, saved;                 /* what answers now, and an older state of it */
bool same_epoch = true;             /* both hold the same rv epoch */
bool unseen;                        /* no script has run since a step or a restore */
byte silent;                        /* ticks since one has run */

bool revoked;                       /* committed in the database */
byte since_commit;                  /* stops at BOUND */
bool dropped;                       /* Redis has run a drop of it */

/* What a validator holds in the middle of _fetch. The witness is number 0. */
bool outdated[FILLERS + 1];                 /* its record was read before the revoke */
short asof_age[FILLERS + 1] = NONE;         /* of its miss; NONE without an answer of Redis' */

/* The witness, by its own clock. */
byte flight_left;                   /* asked_at + lease - boottime() */
byte near_left;                     /* deadline - boottime() of an outdated entry; 0 without one */

/* ---- What Redis runs ------------------------------------------------------------------------ */

inline remove_entry(r) {
    r.entry = NOTHING;
    r.outdated = false;
    r.age = 0
}

inline clear(r) {
    remove_entry(r);
    r.cut_off_age = OLDEST;
    r.seen_age = BACK;
    r.readers = 0;
    same_epoch = false
}

/* Nothing of another epoch counts, so a new one is written as if all of that was gone:
 * look_up.lua `entry[3] == epoch`, fill.lua `entry[3] == epoch`, epoch.lua `of == epoch`,
 * fill.lua `if epoch ~= ARGV[3] then return 'EPOCH' end`. */
inline begin_epoch() {
#ifdef DROPS_OF_ANY_EPOCH
    redis.entry = (redis.entry == LIVE -> DROPPED : redis.entry);
    redis.outdated = false;
    redis.readers = 0;
    same_epoch = false;
#elif !defined(NO_EPOCH)
    clear(redis);
#endif
    redis.seen_age = BACK
}

/* Before each script: epoch.lua `local function enter_epoch(key, candidate)`. */
inline enter_epoch() {
#ifndef STEP_UNSEEN
    if
    :: redis.seen_age < 0 -> begin_epoch()      /* epoch.lua `seen <= now + 5` */
    :: else
    fi;
    redis.seen_age = 0;         /* epoch.lua `redis.pcall('HSET', key, 'seen', now)` */
#endif
    unseen = false;
    silent = 0
}

/* What is not a miss:
 * look_up.lua `entry[1] == 'LIVE' and entry[3] == epoch`
 * look_up.lua `asof <= now and now - asof < tonumber(ARGV[index])`
 * look_up.lua `not is_cut(entry[4], asof, epoch)`, epoch.lua `not (tonumber(at) < asof)` */
#ifdef TTL_FROM_SET
#define HIT (redis.entry == LIVE && redis.age < L)
#else
#define HIT (redis.entry == LIVE && 0 <= redis.age && redis.age < L \
    && redis.cut_off_age > redis.age)
#endif

/* The answer to a miss: look_up.lua `local answers = {now, epoch}`. */
inline miss(v) {
    asof_age[v] = 0;
    redis.readers = redis.readers | (1 << v);
    saved.readers = (same_epoch -> saved.readers | (1 << v) : saved.readers & ~(1 << v))
}

/* The refusals of a fill. An older stamp is a greater age, and an equal one is not older.
 * fill.lua `asof <= now and now - asof < lease) then return 'SLOW'`
 * fill.lua `tonumber(entry[2]) < asof` and fill.lua `is_cut(ARGV[5], asof, epoch)` */
#define SLOW(v) (!(0 <= asof_age[v] && asof_age[v] < L))
#ifdef NO_EPOCH
#define EPOCH(v) false
#else
#define EPOCH(v) (!(redis.readers & (1 << v)))
#endif
#ifdef NO_TOMBSTONE
#define STALE(v) false
#else
#define STALE(v) (redis.entry != NOTHING && !(redis.age > asof_age[v]) \
    || !(redis.cut_off_age > asof_age[v]))
#endif

#if defined(DELETE_AND_TTL)
#define OK(v) true
#elif defined(TOMBSTONE_AND_TTL)
#define OK(v) (redis.entry != DROPPED)
#else
#define OK(v) (!SLOW(v) && !EPOCH(v) && !STALE(v))
#endif

/* fill.lua `'state', 'LIVE', 'asof', ARGV[2], 'epoch', epoch`. Its PEXPIRE is no part of the
 * rule: Faults may remove any entry at any tick, or never. */
inline fill(v) {
    redis.entry = LIVE;
    redis.outdated = outdated[v];
#ifdef TTL_FROM_SET
    redis.age = 0
#else
    redis.age = asof_age[v]
#endif
}

/* revoke.lua `'state', 'DROPPED', 'asof', now` or revoke.lua `now) .. ' ' .. epoch, 'PX'`. */
inline drop() {
#ifdef ACCOUNT
    redis.cut_off_age = 0;
#else
    remove_entry(redis);
#ifndef DELETE_AND_TTL
    redis.entry = DROPPED;
#endif
#endif
    dropped = true
}

/* ---- Validators ----------------------------------------------------------------------------- */

/* A request arrives and is accepted at once. One that had to wait has arrived no later. */
inline accept() {
    assert(!(revoked && since_commit >= BOUND))
}

inline end_flight(v) {
    outdated[v] = false;
    asof_age[v] = NONE;
    redis.readers = redis.readers & ~(1 << v);
    saved.readers = saved.readers & ~(1 << v)
}

#ifndef PROMPT
/* Validator._fetch and the near-cache. A flight may begin at any tick, on a miss of the near-cache
 * or ahead of one (_refresh_ahead). One is watched at a time: validator.py `if flight is None:`,
 * and one that a drop has overtaken is, to the next, no more than a filler. */
active proctype Witness() {
    do
    :: flight_left = L;         /* before it asks: validator.py `asked_at = boottime()` */
       if
       :: atomic {
            enter_epoch();      /* look_up.lua `local epoch = enter_epoch(KEYS[1], ARGV[1])` */
            if
            :: HIT ->           /* validator.py `lease -= answer.age_seconds` */
               outdated[0] = redis.outdated;
#ifndef NEAR_RESTARTS
               flight_left = (flight_left > redis.age -> flight_left - redis.age : 0);
#endif
               goto store
            :: miss(0)          /* a good entry's too: too old to refresh by, or wrongly signed */
            fi
          }
       :: flight_left = L       /* no answer: validator.py `answer, asked_at = None, boottime()` */
       fi;
       /* The value is of any tick after the read began: validator.py `await self._find(digest)` */
       outdated[0] = !revoked;
       if
       :: atomic {
            asof_age[0] != NONE ->
            enter_epoch();      /* fill.lua `local epoch = enter_epoch(KEYS[2], ARGV[1])` */
            if                  /* validator.py `return outcome == "STALE"` */
            :: OK(0) -> fill(0)
            :: !SLOW(0) && !EPOCH(0) && STALE(0) -> goto land
            :: else
            fi
          }
       :: true                  /* nothing to fill, or the fill was lost */
       fi;
store: near_left = (outdated[0] -> flight_left : 0);    /* validator.py `self.near.store(` */
land:  atomic {                 /* those who wait: validator.py `boottime() >= found.deadline` */
            if
#ifdef LANDING_UNCHECKED
            :: outdated[0] -> accept()
#else
            :: outdated[0] && flight_left > 0 -> accept()
#endif
            :: else
            fi;
            end_flight(0);
            flight_left = 0
       }
    od
}
#endif

/* The same, as far as Redis can tell. */
active [FILLERS] proctype Filler() {
    byte me = (_pid == 0 -> FILLERS : _pid);
    do
    :: d_step { enter_epoch(); miss(me) };
       outdated[me] = !revoked;
       if
       :: d_step { enter_epoch(); if :: OK(me) -> fill(me) :: else fi }
       :: true
       fi;
       d_step { end_flight(me) }
#ifdef PROMPT
    :: d_step { enter_epoch(); assert(!(HIT && redis.outdated && dropped)) }
#endif
    od
}

/* ---- The revoke ----------------------------------------------------------------------------- */

/* The commit, then the drop: by the process that committed (work.py), by the relay (outbox.py), at
 * once, late, many times; or never, where the process has died and no relay comes. */
active proctype Revoke() {
#ifdef TTL_FROM_SET
    d_step { revoked = true; drop() }
#else
    revoked = true;
    do
    /* revoke.lua `local epoch = enter_epoch(KEYS[2], ARGV[1])` */
    :: d_step { enter_epoch(); drop() }
    od
#endif
}

/* ---- Time and faults ------------------------------------------------------------------------ */

#define OLDER(age) (age < OLDEST -> age + 1 : age)
#define SHORTER(left) (left > 0 -> left - 1 : 0)

/* An entry that has reached OLDEST can do nothing any more. */
inline age_node(r) {
    r.seen_age = (r.seen_age < BACK -> r.seen_age + 1 : BACK);
    r.cut_off_age = OLDER(r.cut_off_age);
    if
    :: r.entry != NOTHING && r.age + 1 < OLDEST -> r.age++
    :: else -> remove_entry(r)
    fi
}

inline pass() {
    age_node(redis);
    age_node(saved);
    for (each : 0 .. FILLERS) {
        asof_age[each] = OLDER(asof_age[each])
    }
    flight_left = SHORTER(flight_left);
    near_left = SHORTER(near_left);
#ifndef PROMPT
    since_commit = (revoked && since_commit < BOUND -> since_commit + 1 : since_commit);
    /* A request of this tick: near_cache.py `self._now() >= entry.deadline` */
    if
    :: near_left > 0 -> accept()
    :: else
    fi
#endif
}

/* In each tick some validator reports, if one can: listener.py `PING_SECONDS = 0.25`,
 * report.lua `enter_epoch(KEYS[2], ARGV[1])`. */
active proctype Clock() {
    do
    :: d_step { enter_epoch(); pass() }
    :: d_step { silent < SILENCE -> silent++; pass() }
    od
}

inline copy(from, to) {
    to.entry = from.entry;
    to.outdated = from.outdated;
    to.age = from.age;
    to.cut_off_age = from.cut_off_age;
    to.seen_age = from.seen_age;
    to.readers = from.readers;
    same_epoch = true
}

#define YOUNGER(age) (age - step < OLDEST -> age - step : OLDEST)

/* Every stamp of Redis' clock is younger by it. */
inline step_back(r) {
    r.seen_age = r.seen_age - step;
    r.cut_off_age = YOUNGER(r.cut_off_age);
    r.age = (r.entry == NOTHING -> 0 : r.age - step)
}

#ifndef TTL_FROM_SET
active proctype Faults() {
    byte step;
    do
    :: d_step { begin_epoch() }                     /* rv: evicted, deleted, of a wrong type */
#ifdef PROMPT
    :: d_step { clear(redis) }                      /* flushed, restarted without its data */
#else
    :: d_step { remove_entry(redis) }               /* evicted, expired */
    :: redis.cut_off_age = OLDEST                   /* the same */
    :: d_step { !unseen -> copy(redis, saved) }
    :: d_step { copy(saved, redis); unseen = BACK > 0 }     /* restarted, failed over */
    :: near_left = 0                                /* a drop is heard, or a connection lost */
#if STEP > 0
    :: atomic {
        steps > 0 && !unseen ->
        select (step : 1 .. STEP);
        d_step {
            steps--;
            step_back(redis);
            step_back(saved);
            for (each : 0 .. FILLERS) {
                asof_age[each] = (asof_age[each] == NONE -> NONE : YOUNGER(asof_age[each]))
            }
#ifndef RESTORE_ACROSS_STEP
            clear(saved);
#endif
            unseen = true;
            step = 0
        }
       }
#endif
#endif
    od
}
#endif
