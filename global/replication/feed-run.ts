import type { FeedPosition } from '../index/trace-index.js';
import type { LogRecord } from '../log/span-log.js';
import { maxNano, msToUnixNano } from '../model/time.js';
import { MIRROR_HEADER, readMirrorGap } from './mirror-position.js';

/** A stretch of one feed partition that a copy of the index received without a gap (docs/decisions/0006). */
export interface FeedRun {
  readonly nextOffset: number;
  /** Every span appended at or after this, as far as the feed before `nextOffset` speaks of it, has a record in the copy. */
  readonly vouchedFromUnixNano: bigint;
}

export interface RunBeginning {
  /** What the index holds already; null where that is nothing, or nobody knows of what. */
  readonly stored: FeedPosition | null;
  /** Where the log begins to deliver. */
  readonly startOffset: number;
  /** The first record that it delivers. */
  readonly first: LogRecord;
  /** Offset of the oldest retained record of the partition, and the offset after the last, both asked for after `first` was there. */
  readonly logStart: number;
  readonly logEnd: number;
}

/**
 * The time from which everything is there, where all records of the feed before this one may be missing: the time at which the log took the
 * record. A span whose record is missing was appended before that record was, and that before this one. The next millisecond, since the time
 * is rounded down.
 */
export function vouchedFrom(appendedMs: number): bigint {
  return msToUnixNano(Math.max(0, appendedMs) + 1);
}

/**
 * The run that a consumer of a partition begins with. It goes on with the stored one where delivery begins at or before its end; where it
 * begins earlier and vouches for more (a rebuild from an older record), the new run takes its place. A position beyond the end of
 * the log is one of another log of the same name: what that one held last may never have come here. Pure.
 */
export function beginRun({ stored, startOffset, first, logStart, logEnd }: RunBeginning): FeedRun {
  const fromBeginning = startOffset === 0 && logStart === 0;
  const fresh: FeedRun = {
    nextOffset: startOffset,
    vouchedFromUnixNano: fromBeginning ? 0n : vouchedFrom(first.appendedMs),
  };
  if (!stored || startOffset > stored.nextOffset) return fresh;
  if (logEnd < stored.nextOffset) return { ...fresh, vouchedFromUnixNano: vouchedFrom(first.appendedMs) };
  if (fresh.vouchedFromUnixNano < stored.vouchedFromUnixNano) return fresh;
  return { nextOffset: stored.nextOffset, vouchedFromUnixNano: stored.vouchedFromUnixNano };
}

/**
 * The run with one record more. Offsets may have holes that mean nothing, so a missing one is a gap only where the log has forgotten it:
 * `logStart`, asked for after the record was there, lies behind it. `lossMs`, where it is not null, says that
 * records which the log took up to that time may be missing before this one. Records that come again change nothing. Pure.
 */
export function continueRun(run: FeedRun, offset: number, appendedMs: number, logStart: number, lossMs: number | null) {
  let { vouchedFromUnixNano } = run;
  if (offset > run.nextOffset && logStart > run.nextOffset) {
    vouchedFromUnixNano = maxNano(vouchedFromUnixNano, vouchedFrom(appendedMs));
  }
  if (lossMs !== null) vouchedFromUnixNano = maxNano(vouchedFromUnixNano, vouchedFrom(lossMs));
  return { nextOffset: Math.max(run.nextOffset, offset + 1), vouchedFromUnixNano } satisfies FeedRun;
}

/** How a feed came into this region's log: it is the own one, or a mirror brought it. */
export type FeedOrigin = 'own' | 'mirrored' | 'mirrored-whole';

/**
 * Up to when records may be missing before this one, by what it carries; null: the mirror says that none are. A record without the
 * mirror's header came by a mirror that may skip without a word, unless it is known not to (`mirrored-whole`).
 */
export function lossBefore(record: LogRecord, origin: FeedOrigin): number | null {
  if (origin === 'own') return null;
  const gap = readMirrorGap(record.headers);
  // What cannot be read says that there is a gap, not when: it lies before the record came here.
  if (gap === 'unreadable') return record.appendedMs;
  if (gap !== null) return gap;
  return record.headers[MIRROR_HEADER] || origin === 'mirrored-whole' ? null : record.appendedMs;
}
