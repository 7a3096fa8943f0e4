import type { PartHealth } from '../../../global/runtime/service.js';
import { SPOOL_CLASSES } from './spool-class.js';
import type { SpoolState } from './spool-types.js';

/** The spool at a moment. */
export interface SpoolReport {
  readonly isOpen: boolean;
  /** Since when spans go to the spool, or wait in it; null where the log has them all. */
  readonly awaySinceMs: number | null;
  /** What was in the spool then. */
  readonly bytesWhenAway: number;
  readonly nowMs: number;
  /** Partitions whose new spans go behind spooled ones. */
  readonly partitionsBehind: number;
  readonly partitionsKnown: number;
  /** What the log said last. */
  readonly lastFailure: string;
  readonly bytesMax: number;
  readonly spool: SpoolState;
  /** Since the start of the process, by class. */
  readonly droppedSpans: readonly number[];
}

/**
 * What the person on call wants to know, in the order of the questions: are spans taken, why do they go to the spool, how long can that go on, what was
 * lost. Null where the log has everything.
 */
export function spoolHealth(report: SpoolReport): PartHealth | null {
  const { awaySinceMs, isOpen, spool, lastFailure, partitionsBehind, partitionsKnown } = report;
  if (awaySinceMs === null) return null;
  const refusing =
    spool.diskFailure !== null ? `its disk failed: ${spool.diskFailure}` : spool.isFull ? 'it is full' : null;
  const why = lastFailure === '' ? 'left by an earlier process' : lastFailure;
  const heads = isOpen
    ? [`the log does not take spans (${why})`]
    : [`the log takes spans; ${partitionsBehind} of ${partitionsKnown} partitions still replay (${why})`];
  heads.push(
    refusing
      ? `THE SPOOL REFUSES NEW SPANS: ${refusing}; senders are told to retry`
      : 'new spans are kept in the spool',
  );
  const detail = [...heads, roomLeft(report), heldText(report), droppedText(report.droppedSpans)].filter(
    (text) => text !== '',
  );
  return { part: 'collector', state: refusing ? 'down' : 'degraded', detail: detail.join('; '), sinceMs: awaySinceMs };
}

function roomLeft({ spool, bytesMax, bytesWhenAway, awaySinceMs, nowMs }: SpoolReport): string {
  const freeBytes = Math.max(0, bytesMax - spool.bytes);
  const grownBytes = spool.bytes - bytesWhenAway;
  const awayMs = nowMs - (awaySinceMs ?? nowMs);
  const rate = awayMs > 0 && grownBytes > 0 ? grownBytes / awayMs : 0;
  const forText = rate > 0 ? `, enough for ${durationText(freeBytes / rate)} at the rate so far` : '';
  return `room left: ${megabytes(freeBytes)} of ${megabytes(bytesMax)} MB${forText}`;
}

function heldText({ spool, nowMs }: SpoolReport): string {
  if (spool.oldestMs === null) return 'nothing is spooled';
  const spans = SPOOL_CLASSES.map((name, i) => `${spool.spans[i]} ${name}`).join(', ');
  return `spooled: ${spans} spans, the oldest ${durationText(nowMs - spool.oldestMs)} old`;
}

function droppedText(dropped: readonly number[]): string {
  const named = SPOOL_CLASSES.flatMap((name, i) => (dropped[i] ? [`${dropped[i]} ${name}`] : []));
  return named.length === 0 ? '' : `DROPPED to make room: ${named.join(', ')} spans`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
