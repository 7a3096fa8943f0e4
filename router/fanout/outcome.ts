import type { RegionId } from '../../global/model/ids.js';
import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';

/** What became of one region in one answer (Ro3). Every configured region has one in every answer. */
export type RegionState =
  /** It answered with spans (or matches). */
  | 'answered'
  /** It answered that it has none. */
  | 'empty'
  /** Not asked: the index proves that it has none. */
  | 'skipped'
  /** Not reached, or its answer made no sense. */
  | 'unavailable'
  | 'timeout'
  /** It refused, e.g. a version that it does not speak. */
  | 'refused'
  /** Its spans may not leave it; the answer has its metadata. */
  | 'metadata-only';

export type AnswerSource = 'store' | 'live' | 'standby' | 'cache' | 'none';

/** As it appears in answers (surface: `regions`). */
export interface RegionOutcome {
  readonly region: RegionId;
  readonly state: RegionState;
  /** Why it is not `answered` or `empty`, or what its answer lacks. */
  readonly reason?: string;
  /** ISO time since when the region, or the missing part of it, has been failing. */
  readonly since?: string;
  /** `live` where some of the spans were still open in the assembler. */
  readonly source: AnswerSource;
  readonly spanCount: number;
  readonly tookMs: number;
}

/** A failed call. `code` tells machines, `reason` people. */
export interface RegionFailure {
  readonly state: 'unavailable' | 'timeout' | 'refused';
  readonly code: ErrorCode;
  readonly reason: string;
  /** Can trying again at once help? */
  readonly retriable: boolean;
  /** Is it the region's fault (counts for its breaker), or the caller's? */
  readonly counts: boolean;
}

/** Sorts whatever a client threw. What is no MeridianError is an answer that the client could not make sense of. */
export function failureOf(error: unknown): RegionFailure {
  if (!(error instanceof MeridianError)) {
    return failure('unavailable', 'malformed', `the call failed: ${messageOf(error)}`, false);
  }
  const { code, message } = error;
  const retriable = error.retry === 'later' && code !== 'timeout';
  switch (code) {
    case 'timeout':
      return failure('timeout', code, message, false);
    case 'refused':
    case 'unknown-version':
      return { ...failure('refused', code, message, false), counts: false };
    case 'invalid':
    case 'not-found':
      return { ...failure('unavailable', code, message, false), counts: false };
    default:
      return failure('unavailable', code, message, retriable);
  }
}

function failure(state: RegionFailure['state'], code: ErrorCode, reason: string, retriable: boolean): RegionFailure {
  return { state, code, reason: reason.slice(0, REASON_CHARACTERS_MAX), retriable, counts: true };
}

/** A reason comes from another region's words: bounded, so that an answer is. */
export const REASON_CHARACTERS_MAX = 500;

/** Does the answer lack what this region may hold? */
export function leavesGap(outcome: Pick<RegionOutcome, 'state' | 'reason'>): boolean {
  if (outcome.state === 'skipped' || outcome.state === 'empty') return false;
  return outcome.state !== 'answered' || outcome.reason !== undefined;
}
