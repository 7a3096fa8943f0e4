import type { LogSubscription, PartitionHandler, SpanLog } from '../../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../../global/log/topics.js';
import { MeridianError } from '../../../global/runtime/errors.js';
import type { Assembler } from '../assembler.js';
import type { Rig } from './rig.js';

const READ_MS = 100;

/** One ownership of a partition of `spans`, delivered to by hand. */
export interface HandOwnership {
  readonly process: HandProcess;
  readonly partition: number;
  readonly handler: PartitionHandler;
  /** Of the next record to deliver. */
  position: number;
}

export interface HandProcess {
  readonly assembler: Assembler;
  readonly assigned: LogSubscription['assigned'];
}

/**
 * The consumer group of the assemblers of several processes, moved by hand: partitions can be given to another process while the old one does
 * not know of it yet (it was paused). As in Kafka, such a process can go on reading and appending, and only its commits are refused.
 */
export class HandGroup {
  readonly #rig: Rig;
  /** Ownerships given so far, by partition: only the last may commit. */
  readonly #epochs = new Map<number, number>();

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  async process(): Promise<HandProcess> {
    const session = this.#rig.session();
    let assigned: LogSubscription['assigned'] | null = null;
    const log: SpanLog = Object.assign(Object.create(session), {
      append: session.append.bind(session),
      ends: session.ends.bind(session),
      starts: session.starts.bind(session),
      committed: session.committed.bind(session),
      // Reading back what earlier owners left takes a while.
      read: async (...place: Parameters<SpanLog['read']>) => {
        await this.#rig.clock.sleep(READ_MS);
        return session.read(...place);
      },
      subscribe: (subscription: LogSubscription) => {
        assigned = subscription.assigned;
        return Promise.resolve({ stop: () => Promise.resolve() });
      },
    });
    const assembler = this.#rig.assembler({ log });
    await assembler.start();
    return { assembler, assigned: assigned! };
  }

  /** The process owns the partition from now on, from the group's commit on; who owned it before is not told. */
  give(process: HandProcess, partition: number): HandOwnership {
    const epoch = (this.#epochs.get(partition) ?? 0) + 1;
    this.#epochs.set(partition, epoch);
    const commits = this.#rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans);
    const startOffset = commits[partition] ?? 0;
    const handler = process.assigned({
      topic: TOPICS.spans,
      partition,
      startOffset,
      commit: async (nextOffset) => {
        await Promise.resolve();
        if (this.#epochs.get(partition) !== epoch) {
          throw new MeridianError('refused', `commit of ${partition}: owned by another`, 'never');
        }
        commits[partition] = Math.max(commits[partition] ?? 0, nextOffset);
      },
    });
    return { process, partition, handler, position: startOffset };
  }

  /** Delivers up to `count` records, if there are any. */
  async deliver(ownership: HandOwnership, count: number): Promise<void> {
    const { handler, partition, position } = ownership;
    const all = this.#rig.memory.records(TOPICS.spans, partition);
    const records = all.filter(({ offset }) => offset >= position && offset < position + count);
    if (records.length === 0) return;
    await handler.records({ topic: TOPICS.spans, partition, records });
    ownership.position = records.at(-1)!.offset + 1;
  }
}
