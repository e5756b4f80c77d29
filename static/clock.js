// Time since the page was opened, in milliseconds, sleep included.
//
// `performance.now()` stands still on some systems while the machine is suspended: a price of last night would
// look two seconds old in the morning, and a dead connection young. A jump of the wall clock against it is taken
// for sleep. (A wall clock that somebody sets forward looks the same: then a price looks too old until the next
// one comes, which is the harmless side.)

const LEAP = 5_000;

/**
 * A clock whose `now()` never goes back; `leaps()` counts the jumps over sleep. The two sources can be replaced in tests.
 */
export function makeClock(monotonic = () => performance.now(), wall = () => Date.now()) {
  let offset = wall() - monotonic();
  let slept = 0;
  let leaps = 0;
  const now = () => {
    const drift = wall() - monotonic() - offset;
    if (drift > LEAP) [slept, leaps] = [slept + drift, leaps + 1];
    if (Math.abs(drift) > LEAP) offset += drift;
    return monotonic() + slept;
  };
  return { now, leaps: () => (now(), leaps) };
}
