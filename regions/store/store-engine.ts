import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { asBuffer } from '../../global/runtime/bytes.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { decodeBlock, encodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Segment } from '../segments/segment.js';
import { type BlockEntry, blockEntry } from './block-entry.js';
import { COMPACTION, CompactionPlan } from './compaction.js';
import { unavailable } from './store-database.js';
import { EXPIRE_PACKS_PER_TRANSACTION, type SmallPack, StoreTables } from './store-tables.js';

/** Counted since the start. */
export interface EngineCounts {
  readonly transactions: number;
  readonly packsMade: number;
  readonly blocksPacked: number;
}

interface WaitingWrite {
  readonly entries: readonly BlockEntry[];
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * The writing side of the store, as it runs in the store's worker: inflates blocks, finds their terms, commits what calls have
 * brought while the last transaction ran as one, and packs small blocks together when there is nothing else to do.
 */
export class StoreEngine {
  readonly #db: DatabaseSyncInstance;
  readonly #tables: StoreTables;
  readonly #plan = new CompactionPlan();
  /** Calls that have not been answered. */
  readonly #writes = new Set<Promise<void>>();
  #waiting: WaitingWrite[] = [];
  #committing = false;
  #compacting: Promise<void> | null = null;
  #closed = false;
  readonly #counts = { transactions: 0, packsMade: 0, blocksPacked: 0 };

  constructor(db: DatabaseSyncInstance) {
    this.#db = db;
    this.#tables = new StoreTables(db);
    for (const pack of this.#tables.smallPacks(COMPACTION.packBytesMin, COMPACTION.rememberedMax))
      this.#plan.note(pack);
  }

  get counts(): EngineCounts {
    return this.#counts;
  }

  /** See `SegmentStoreWriter.write`; the bytes are those of encoded blocks. */
  write(blocks: readonly Uint8Array[]): Promise<void> {
    const write = this.#write(blocks).finally(() => this.#writes.delete(write));
    this.#writes.add(write);
    return write;
  }

  async #write(blocks: readonly Uint8Array[]): Promise<void> {
    const entries = await Promise.all(blocks.map(prepare));
    if (entries.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ entries, resolve, reject });
      this.#scheduleCommit();
    });
  }

  /** See `SegmentStoreRetention.expire`. */
  async expire(beforeUnixNano: bigint): Promise<number> {
    try {
      let packs = 0;
      for (;;) {
        const removed = this.#tables.expire(beforeUnixNano);
        packs += removed;
        if (removed < EXPIRE_PACKS_PER_TRANSACTION) break;
        // Writes that wait go first.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return packs === 0 ? 0 : this.#tables.sweep();
    } catch (error) {
      throw unavailable('expire blocks of the segment store', error);
    }
  }

  /** Removes these packs; resolves with how many were there. */
  async remove(packs: readonly number[]): Promise<number> {
    try {
      let removed = 0;
      for (let i = 0; i < packs.length; i += EXPIRE_PACKS_PER_TRANSACTION) {
        removed += this.#tables.remove(packs.slice(i, i + EXPIRE_PACKS_PER_TRANSACTION));
        // Writes that wait go first.
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (removed > 0) this.#tables.sweep();
      return removed;
    } catch (error) {
      throw unavailable('remove packs of the segment store', error);
    }
  }

  /** Packs every group that is due. Resolves when none is; used by tests and by `close`. */
  async compact(): Promise<void> {
    while (!this.#closed) {
      const running = this.#compacting ?? this.#startCompaction();
      if (!running) return;
      await running;
    }
  }

  /** Answers the calls that were made before, then closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await Promise.allSettled(this.#writes);
    this.#closed = true;
    await this.#compacting;
    try {
      // A reader's connection that is not collected yet would keep SQLite from doing this by itself.
      this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } finally {
      this.#db.close();
    }
  }

  #scheduleCommit(): void {
    if (this.#committing) return;
    this.#committing = true;
    // Calls whose blocks become ready in the same turn share the transaction.
    setImmediate(() => {
      this.#committing = false;
      if (this.#closed) return;
      this.#commit();
      if (this.#waiting.length > 0) this.#scheduleCommit();
      else this.#startCompaction();
    });
  }

  #commit(): void {
    const writes = this.#waiting;
    this.#waiting = [];
    if (writes.length === 0) return;
    const entries = writes.flatMap((write) => write.entries);
    try {
      const packs = this.#tables.insert(entries);
      this.#counts.transactions++;
      entries.forEach((entry, i) => {
        const pack = packs[i];
        if (pack !== null && pack !== undefined) this.#plan.note(smallPack(pack, entry));
      });
      for (const write of writes) write.resolve();
    } catch (error) {
      const problem = unavailable(`write ${entries.length} blocks to the segment store`, error);
      for (const write of writes) write.reject(problem);
    }
  }

  #startCompaction(): Promise<void> | null {
    if (this.#compacting || this.#closed) return this.#compacting;
    const group = this.#plan.takeDue();
    if (!group) return null;
    this.#compacting = this.#pack(group)
      // What could not be packed stays as it is: complete, only larger.
      .catch(() => {})
      .finally(() => {
        this.#compacting = null;
        if (this.#waiting.length === 0) setImmediate(() => this.#startCompaction());
      });
    return this.#compacting;
  }

  async #pack(group: readonly SmallPack[]): Promise<void> {
    const members: SmallPack[] = [];
    const segments: Segment[] = [];
    for (const member of group) {
      const bytes = this.#tables.bytes(member.pack);
      if (!bytes) continue;
      const block = await decodeBlock(readEncodedBlock(asBuffer(bytes)));
      if (segments.length + block.segments.length > COMPACTION.segmentsMax) break;
      members.push(member);
      segments.push(...block.segments);
    }
    if (members.length < 2) return;
    const { source, ids } = members[0]!;
    const encoded = await encodeBlock({ id: ids[0]!, source, segments });
    const entry = {
      ...blockEntry({ id: ids[0]!, source, segments }, encoded.bytes),
      ids: members.flatMap((member) => member.ids),
    };
    const pack = this.#tables.replace({ packs: members.map((member) => member.pack), entry });
    if (pack === null) return;
    this.#counts.packsMade++;
    this.#counts.blocksPacked += members.length;
    this.#plan.note(smallPack(pack, entry));
  }
}

function smallPack(pack: number, { source, ids, bytes, startUnixNanoMax }: BlockEntry): SmallPack {
  return { pack, source, ids, bytes: bytes.length, startUnixNanoMax };
}

async function prepare(bytes: Uint8Array): Promise<BlockEntry> {
  const encoded = readEncodedBlock(asBuffer(bytes));
  const block = await decodeBlock(encoded);
  try {
    return blockEntry(block, encoded.bytes);
  } catch (error) {
    if (!(error instanceof MeridianError)) throw error;
    throw new MeridianError(error.code, `block ${block.id}: ${messageOf(error)}`, error.retry, { cause: error });
  }
}
