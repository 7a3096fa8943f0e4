import type { LogOffsets, LogReads } from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { HeldSegments } from './held-segments.js';

const PAGE_BYTES = 4 * 1024 * 1024;

export interface RecoverOptions {
  readonly log: LogOffsets & LogReads;
  readonly source: RegionId;
  readonly held: HeldSegments;
  readonly logger: Logger;
}

/**
 * Makes the blocks readable again that an earlier process appended and the writer has not committed: without this, a restart would hide
 * them until the store has caught up. Ends early where `held` is full; blocks that cannot be read are the writer's to report.
 */
export async function recoverHeldBlocks({ log, source, held, logger }: RecoverOptions): Promise<void> {
  const [ends, starts, committed] = await Promise.all([
    log.ends(TOPICS.segments),
    log.starts(TOPICS.segments),
    log.committed(GROUPS.writer, TOPICS.segments),
  ]);
  for (const [partition, end] of ends.entries()) {
    let next = Math.max(committed[partition] ?? 0, starts[partition] ?? 0);
    while (next < end) {
      const records = await log.read(TOPICS.segments, partition, next, PAGE_BYTES);
      if (records.length === 0) break;
      for (const { offset, value } of records) {
        next = offset + 1;
        if (offset >= end) break;
        try {
          const encoded = readEncodedBlock(asBuffer(value));
          if (encoded.source !== source) continue;
          const { id, segments } = await decodeBlock(encoded);
          held.recovered({ id, partition, offset, segments });
        } catch (error) {
          if (!(error instanceof MeridianError)) throw error;
          logger.warn({ err: error, partition, offset }, 'a record of segments cannot be read');
        }
        if (held.isFull) {
          logger.warn(
            { partition, offset },
            'more segments wait for the store than can be held; the rest shows when they are stored',
          );
          return;
        }
      }
    }
  }
}
