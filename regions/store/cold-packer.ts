import { crc32 } from 'node:zlib';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { decodeBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import { blockEntry } from './block-entry.js';
import { AGED_BLOCKS_MAX, type AgedBlock, type AgedBlocks, type AgedHour } from './cold-aged-blocks.js';
import type { ColdMetrics } from './cold-metrics.js';
import { COLD_OBJECT_LIMITS, type ColdBlock, type ColdBlockSummary, encodeColdObject } from './cold-object.js';
import { contentOf, formatColdName, HOUR_MS, identityKey } from './cold-object-name.js';
import type { ObjectStorage } from './cold-object-storage.js';
import type { ColdObject, ColdObjects } from './cold-objects.js';

/** Between two durable effects; tests end the packer there. */
export type ColdCrashPoint = 'before-put' | 'after-put' | 'after-remove';

export interface ColdPackerOptions {
  readonly storage: ObjectStorage;
  readonly objects: ColdObjects;
  readonly metrics: ColdMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly crash: (point: ColdCrashPoint) => void;
  /** An object is closed when its blocks reach this many bytes; a larger block has one of its own. */
  readonly objectBytesMax: number;
  /** Wait between writing objects and removing their blocks from the hot store: others must have listed them by then. */
  readonly settleMs: number;
}

export interface PackReport {
  readonly blocks: number;
  readonly objects: number;
  readonly bytes: number;
  /** Blocks that cannot be read; they stay where they are. */
  readonly unpackable: number;
}

/** Bytes of blocks read from the hot store at once. */
const READ_BYTES_MAX = 16 * 1024 * 1024;
const READ_BLOCKS_MAX = 256;

/** A block that is being packed, and where the hot store has it: in several places where it was written again after a rollover. */
interface Packed {
  readonly aged: AgedBlock[];
  readonly block: ColdBlock;
}

/** What the next object of a source will hold. */
interface Builder {
  readonly known: KnownBlocks;
  readonly packed: Map<string, Packed>;
  bytes: number;
}

/**
 * Moves whole hours from the hot store into cold objects: written, read back and compared, and only then removed from the hot store. A crash anywhere in between
 * leaves blocks in both, which readers do not mind; the next run finds them in the objects and goes on to removing. Blocks that come late for an
 * hour make another object of it.
 */
export class ColdPacker {
  readonly #options: ColdPackerOptions;

  constructor(options: ColdPackerOptions) {
    this.#options = options;
  }

  /** Hours that end at or before `beforeMs`. Where the signal aborts it ends after the present hour, at the latest; the rest is for the next run. */
  async pack(aged: AgedBlocks, beforeMs: number, signal: AbortSignal): Promise<PackReport> {
    const report = { blocks: 0, objects: 0, bytes: 0, unpackable: 0 };
    for (let fromMs = 0; !signal.aborted; ) {
      const hour = await aged.oldest(fromMs, beforeMs);
      if (!hour) break;
      const removed = await this.#packHour(aged, hour, report, signal);
      report.blocks += removed;
      // A full list: there may be more of this hour, unless nothing of it could be moved.
      const again = hour.blocks.length >= AGED_BLOCKS_MAX && removed > 0;
      fromMs = again ? hour.hourMs : hour.hourMs + HOUR_MS;
    }
    return report;
  }

  async #packHour(
    aged: AgedBlocks,
    { hourMs, blocks }: AgedHour,
    report: { objects: number; bytes: number; unpackable: number },
    signal: AbortSignal,
  ): Promise<number> {
    const { clock, crash, metrics, objects, objectBytesMax, settleMs } = this.#options;
    const movable: AgedBlock[] = [];
    const builders = new Map<RegionId, Builder>();
    const flush = async (source: RegionId, builder: Builder) => {
      const packed = [...builder.packed.values()];
      report.bytes += await this.#write(source, hourMs, packed);
      report.objects++;
      movable.push(...packed.flatMap((one) => one.aged));
      builder.packed.clear();
      builder.bytes = 0;
    };
    for (const group of groupsOf(blocks)) {
      const encoded = await aged.read(group);
      for (const [i, one] of encoded.entries()) {
        const place = group[i]!;
        const block = one && (await this.#coldBlock(one));
        if (!block) {
          if (one) report.unpackable++;
          continue;
        }
        const { source } = one;
        let builder = builders.get(source);
        if (!builder) {
          builder = { known: await this.#known(source, hourMs), packed: new Map(), bytes: 0 };
          builders.set(source, builder);
        }
        const key = keyOf(block);
        if (builder.packed.get(key)?.aged.push(place)) continue;
        if (await this.#isIn(builder.known, key, one)) {
          movable.push(place);
          continue;
        }
        const full = builder.bytes + one.bytes.length > objectBytesMax;
        if (builder.packed.size > 0 && (full || builder.packed.size === COLD_OBJECT_LIMITS.blocksMax)) {
          await flush(source, builder);
        }
        builder.packed.set(key, { aged: [place], block });
        builder.bytes += one.bytes.length;
      }
    }
    for (const [source, builder] of builders) if (builder.packed.size > 0) await flush(source, builder);
    for (const source of builders.keys()) objects.changed(source);
    crash('after-put');
    await clock.sleep(settleMs, signal);
    // Cut short: others may not know of the objects yet. The next run finds them.
    if (settleMs > 0 && signal.aborted) return 0;
    const removed = await aged.remove(movable);
    metrics.moved(removed);
    crash('after-remove');
    return removed;
  }

  /** Null, and told, where it cannot be read: it stays in the hot store. */
  async #coldBlock(encoded: EncodedBlock): Promise<ColdBlock | null> {
    try {
      const block = await decodeBlock(encoded);
      return {
        entry: blockEntry(block, encoded.bytes),
        traceIds: block.segments.map(({ metadata }) => metadata.traceId),
      };
    } catch (error) {
      this.#options.metrics.unpackable();
      this.#options.logger.error(
        { block: encoded.id, error: messageOf(error) },
        'cold tier: a block cannot be read; it stays in the hot store until its retention ends',
      );
      return null;
    }
  }

  async #write(source: RegionId, hourMs: number, packed: readonly Packed[]): Promise<number> {
    const { storage, metrics, logger, crash } = this.#options;
    const blocks = packed.map(({ block }) => block).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    const name = formatColdName({ source, hourMs, content: contentOf(blocks.map(identityOf)), blocks: blocks.length });
    const bytes = encodeColdObject(source, blocks);
    crash('before-put');
    await storage.put(name, bytes);
    const read = await storage.read(name, 0, bytes.length);
    if (!read.equals(bytes)) {
      throw new MeridianError(
        'unavailable',
        `cold object ${name}: what is read back is not what was written; nothing was removed`,
        'later',
      );
    }
    metrics.wroteObject(bytes.length);
    logger.debug({ name, blocks: blocks.length, bytes: bytes.length }, 'cold tier: wrote an object');
    return bytes.length;
  }

  /** What earlier runs have put into objects of the hour. */
  async #known(source: RegionId, hourMs: number): Promise<KnownBlocks> {
    const { objects } = this.#options;
    objects.changed(source);
    const known: KnownBlocks = new Map();
    for (const object of await objects.of(source)) {
      if (object.hourMs !== hourMs) continue;
      const summary = await objects.summary(object);
      for (const block of summary?.blocks ?? []) known.set(identityKey(block), { object, block });
    }
    return known;
  }

  /** Compared byte by byte: the run that wrote it may not have come to verifying it. */
  async #isIn(known: KnownBlocks, key: string, { bytes }: EncodedBlock): Promise<boolean> {
    const found = known.get(key);
    if (!found) return false;
    try {
      return (await this.#options.objects.encoded(found.object, found.block))?.equals(bytes) ?? false;
    } catch (error) {
      if (error instanceof MeridianError && error.code === 'malformed') return false;
      throw error;
    }
  }
}

type KnownBlocks = Map<string, { readonly object: ColdObject; readonly block: ColdBlockSummary }>;

function identityOf({ entry }: ColdBlock) {
  return { id: entry.ids[0]!, length: entry.bytes.length, crc: crc32(entry.bytes) };
}

function keyOf(block: ColdBlock): string {
  return identityKey(identityOf(block));
}

function groupsOf(blocks: readonly AgedBlock[]): AgedBlock[][] {
  const groups: AgedBlock[][] = [];
  let bytes = 0;
  for (const block of blocks) {
    const group = groups.at(-1);
    if (!group || group.length === READ_BLOCKS_MAX || bytes + block.bytes > READ_BYTES_MAX) {
      groups.push([block]);
      bytes = block.bytes;
    } else {
      group.push(block);
      bytes += block.bytes;
    }
  }
  return groups;
}
