/** Limits and times of the embedded mirror, each per mirrored partition. */
export interface LinkLimits {
  /** Values that were received and are not appended yet; beyond it the source is not read further. */
  readonly queuedBytesMax: number;
  /** Values in one append. */
  readonly appendBytesMax: number;
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  /** A source that was asked to follow answers within this (its first batch comes at once). */
  readonly answerMs: number;
  /** After this long without a batch the source is asked again: a dead connection looks like a quiet topic. */
  readonly idleMs: number;
  /** A lag beyond this is shown as `behind`. */
  readonly behindMs: number;
}

export const LINK_LIMITS: LinkLimits = {
  queuedBytesMax: 4 * 1024 * 1024,
  appendBytesMax: 1024 * 1024,
  backoffFirstMs: 100,
  backoffMaxMs: 1_000,
  answerMs: 5_000,
  idleMs: 10_000,
  behindMs: 5_000,
};
