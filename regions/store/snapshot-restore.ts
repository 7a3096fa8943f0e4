import type { LogOffsets, LogReads, LogRecord } from '../../global/log/span-log.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import type { SegmentStoreWriter } from './segment-store.js';
import type { SnapshotPosition } from './snapshot-record.js';

/** A stretch of a partition that is written again. */
export interface ReplaySpan {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly from: number;
  /** The offset after the last one. */
  readonly to: number;
  /** End of the partition now. */
  readonly end: number;
}

export interface ReplayCounts {
  blocks: number;
  /** Records that are no block of this build; the writer put them into the dead-letter topic when it came by. */
  unreadable: number;
}

const READ_BYTES_MAX = 8 * 1024 * 1024;
const WRITE_BLOCKS_MAX = 64;

/**
 * What has to be read between a snapshot and a time (null: all there is). Rejects with `refused` where the log no longer goes back to the snapshot: what
 * lies between would be missing from the store.
 */
export async function replaySpans(
  log: LogOffsets,
  positions: readonly SnapshotPosition[],
  toMs: number | null,
): Promise<ReplaySpan[]> {
  const spans: ReplaySpan[] = [];
  for (const { group, topic, offsets } of positions) {
    const [starts, ends] = await Promise.all([log.starts(topic), log.ends(topic)]);
    if (starts.length !== offsets.length) {
      const message = `restore: ${topic} has ${starts.length} partitions, and had ${offsets.length} when the snapshot was taken`;
      throw new MeridianError('refused', message, 'never');
    }
    for (const [partition, from] of offsets.entries()) {
      const end = ends[partition] ?? 0;
      const start = starts[partition] ?? 0;
      if (start > from) {
        const message = `restore: the log has forgotten offsets ${from} to ${start} of ${topic}/${partition}, which came after the snapshot: choose a newer snapshot`;
        throw new MeridianError('refused', message, 'never');
      }
      const to = toMs === null ? end : Math.min(end, await log.offsetAt(topic, partition, toMs + 1));
      spans.push({ group, topic, partition, from, to: Math.max(from, to), end });
    }
  }
  return spans;
}

/** Writes the blocks of the spans into the store again. `progressed` is told after each write. */
export async function replayInto(
  store: SegmentStoreWriter,
  log: LogReads,
  spans: readonly ReplaySpan[],
  progressed: (counts: ReplayCounts) => void,
): Promise<ReplayCounts> {
  const counts: ReplayCounts = { blocks: 0, unreadable: 0 };
  for (const { topic, partition, from, to } of spans) {
    for (let at = from; at < to; ) {
      const records = await log.read(topic, partition, at, READ_BYTES_MAX);
      if (records.length === 0) break;
      const wanted = records.filter(({ offset }) => offset < to);
      const blocks = readable(wanted, counts);
      for (let i = 0; i < blocks.length; i += WRITE_BLOCKS_MAX)
        await store.write(blocks.slice(i, i + WRITE_BLOCKS_MAX));
      counts.blocks += blocks.length;
      progressed(counts);
      at = records[records.length - 1]!.offset + 1;
    }
  }
  return counts;
}

function readable(records: readonly LogRecord[], counts: ReplayCounts): EncodedBlock[] {
  return records.flatMap(({ value }) => {
    try {
      return [readEncodedBlock(asBuffer(value))];
    } catch (error) {
      if (!(error instanceof MeridianError)) throw error;
      counts.unreadable++;
      return [];
    }
  });
}
