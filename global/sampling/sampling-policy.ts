import type { TraceMetadata } from '../model/metadata.js';

/** The spans of one trace that were assembled together, at the moment when it is decided whether they are stored. */
export interface SamplingCandidate {
  readonly metadata: TraceMetadata;
  /** OTLP `TracesData`. Not to be changed. */
  readonly payload: Buffer;
}

export interface SamplingDecision {
  readonly keep: boolean;
  /** Which rule decided; a short stable word, for counting. */
  readonly rule: string;
}

/**
 * The place of sampling in the write path: group > DECIDE > append > publish > commit. Pure of I/O: what it needs to know
 * (rates, decisions of other regions) it was given before.
 */
export interface SamplingPolicy {
  /**
   * One decision per candidate, in their order. Asked once for each segment that was closed; after a crash it may be asked again
   * about the same spans, cut differently. `nowMs` is the wall clock.
   */
  decide(candidates: readonly SamplingCandidate[], nowMs: number): readonly SamplingDecision[];
}

const KEEP: SamplingDecision = { keep: true, rule: 'keep-all' };

/** Keeps everything. */
export const keepAll: SamplingPolicy = { decide: (candidates) => candidates.map(() => KEEP) };
