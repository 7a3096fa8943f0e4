/**
 * The named places of the write path between two durable effects. Production code announces each; the crash test
 * walks this list and ends the process (or throws) at every one of them in turn.
 */
export const CRASH_POINTS = [
  'collector.before-append',
  'collector.after-append',
  'assembler.before-block',
  'assembler.after-block',
  'assembler.after-metadata',
  'assembler.after-commit',
  'writer.before-store',
  'writer.after-store',
  'writer.after-commit',
  'applier.before-apply',
  'applier.after-apply',
  'applier.after-commit',
  'mirror.before-append',
  'mirror.after-append',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

/** Called with the name of the point that was reached; returns in production, does not return in a crash test. */
export type ReachCrashPoint = (point: CrashPoint) => void;

export const noCrash: ReachCrashPoint = () => {};
