import type { ShardView } from './redis-view.js';
import type { FeedPosition, ReceivedRecord, VouchedWatermark } from './trace-index.js';

/**
 * Notices that Redis lost what was applied: it was flushed (no state, or another generation), or it came back with less (fewer writes than this
 * process knows of). What then comes may still be told by a feed's reader that does not know: its watermarks would claim records that are gone.
 * So from a loss on, and for each feed partition until its position has been asked for again (it then begins anew),
 * watermarks are taken as vouching for nothing and positions are left out. A loss that nobody has noticed yet is safe: positions are lost with it.
 */
export class LossWatch {
  readonly #known = new Map<number, { generation: string; writes: number }>();
  /** Feed partitions that this process was asked for or told of. */
  readonly #partitions = new Set<string>();
  /** Those that have not asked since the last loss. */
  readonly #unaware = new Set<string>();
  #losses = 0;

  constructor(private readonly lost: (why: string) => void) {}

  /** The state of the shard as it was just read by the writer; null: there is none. */
  saw(shard: number, view: ShardView | null): void {
    const known = this.#known.get(shard);
    if (view) this.#known.set(shard, { generation: view.generation, writes: view.writes });
    else this.#known.delete(shard);
    if (!known) return;
    if (!view) this.#lose('it is empty');
    else if (view.generation !== known.generation) this.#lose('it was made anew');
    else if (view.writes < known.writes) this.#lose(`${known.writes - view.writes} writes are gone`);
  }

  /** The counter after a write of this process. */
  wrote(shard: number, writes: number): void {
    const known = this.#known.get(shard);
    if (known && writes > known.writes) known.writes = writes;
  }

  /** Emptied by this process on purpose: whoever clears begins the feeds anew. */
  cleared(shard: number, view: ShardView | null): void {
    if (view) this.#known.set(shard, { generation: view.generation, writes: view.writes });
    else this.#known.delete(shard);
    this.#unaware.clear();
  }

  #lose(why: string): void {
    this.#losses++;
    for (const partition of this.#partitions) this.#unaware.add(partition);
    this.lost(why);
  }

  /** Runs a reading of the partition's position: who gets it knows of all losses before. */
  async asking<T>(topic: string, partition: number, read: () => Promise<T>): Promise<T> {
    const key = JSON.stringify([topic, partition]);
    this.#partitions.add(key);
    const losses = this.#losses;
    const result = await read();
    if (losses === this.#losses) this.#unaware.delete(key);
    return result;
  }

  /** What may be written of a call's watermarks and position. A call without a position may be of any feed partition. */
  believed(
    records: readonly ReceivedRecord[],
    position: FeedPosition | null,
  ): { watermarks: VouchedWatermark[]; position: FeedPosition | null } {
    const watermarks = records.flatMap(({ watermark }) => (watermark ? [watermark] : []));
    const key = position && JSON.stringify([position.topic, position.partition]);
    if (key) this.#partitions.add(key);
    if (key ? !this.#unaware.has(key) : this.#unaware.size === 0) return { watermarks, position };
    return {
      watermarks: watermarks.map(({ region, partition, partitionCount, watermarkUnixNano }) => {
        return { region, partition, partitionCount, watermarkUnixNano };
      }),
      position: null,
    };
  }
}
