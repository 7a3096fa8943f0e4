/** The named places between two durable effects of the spool; the kill test ends a process at every one of them in turn. */
export const SPOOL_CRASH_POINTS = [
  'spool.before-write',
  'spool.after-write',
  'spool.after-sync',
  'spool.after-evict',
  'spool.before-replay',
  'spool.after-replay',
  'spool.after-position',
  'spool.after-delete',
] as const;

export type SpoolCrashPoint = (typeof SPOOL_CRASH_POINTS)[number];

/** Called with the name of the point that was reached; returns in production, does not return in a crash test. */
export type ReachSpoolCrashPoint = (point: SpoolCrashPoint) => void;

export const noSpoolCrash: ReachSpoolCrashPoint = () => {};
