import { type DeadLetter, deadLetterEntry, readDeadLetter } from '../log/dead-letter.js';
import type { LogAppender, LogOffsets, LogReads, LogRecord } from '../log/span-log.js';
import { TOPICS } from '../log/topics.js';

const READ_BYTES_MAX = 1024 * 1024;

/**
 * Keeps account of the feed records that could not be used. Behind such a hole the watermarks of its partition prove nothing:
 * the lost record may have been the only one of a trace. So they are held back (that costs asking one region more, and
 * never an answer) until the record was read again and could be used, or has left the dead-letter topic by age.
 * The account is durable: it is the dead-letter topic itself.
 */
export class PoisonAccount {
  readonly #holes = new Map<string, Set<number>>();
  #readUpTo = 0;

  constructor(private readonly log: LogAppender & LogOffsets & LogReads) {}

  /** Reads what was added to the dead-letter topic since the last time. */
  async refresh(): Promise<void> {
    const topic = TOPICS.traceMetadataDlq;
    const start = (await this.log.starts(topic))[0] ?? 0;
    for (let next = Math.max(start, this.#readUpTo); ; next = this.#readUpTo) {
      const records = await this.log.read(topic, 0, next, READ_BYTES_MAX);
      if (records.length === 0) return;
      for (const { headers, offset } of records) {
        const letter = readDeadLetter(headers);
        if (letter) this.#note(letter);
        this.#readUpTo = offset + 1;
      }
    }
  }

  #note({ topic, partition, offset, state }: DeadLetter): void {
    const key = `${topic}/${partition}`;
    const holes = this.#holes.get(key) ?? new Set<number>();
    if (state === 'poison') holes.add(offset);
    else holes.delete(offset);
    this.#holes.set(key, holes);
  }

  /** Whether there is a hole before the offset, so that a watermark there proves nothing. */
  hasHoleBefore(topic: string, partition: number, offset: number): boolean {
    for (const hole of this.#holes.get(`${topic}/${partition}`) ?? []) if (hole < offset) return true;
    return false;
  }

  isHole(topic: string, partition: number, offset: number): boolean {
    return this.#holes.get(`${topic}/${partition}`)?.has(offset) ?? false;
  }

  get holeCount(): number {
    let count = 0;
    for (const holes of this.#holes.values()) count += holes.size;
    return count;
  }

  /** Puts a record aside, durably on resolve. */
  async add(topic: string, partition: number, record: LogRecord, code: string, message: string): Promise<void> {
    const letter: DeadLetter = { topic, partition, offset: record.offset, state: 'poison', code, message };
    await this.log.append(TOPICS.traceMetadataDlq, 0, [deadLetterEntry(letter, record)]);
    this.#note(letter);
  }

  /** Notes that a record that was put aside could be used after all. */
  async resolve(topic: string, partition: number, record: LogRecord): Promise<void> {
    const letter: DeadLetter = { topic, partition, offset: record.offset, state: 'resolved', code: '', message: '' };
    await this.log.append(TOPICS.traceMetadataDlq, 0, [
      deadLetterEntry(letter, { key: null, value: new Uint8Array(0), headers: {} }),
    ]);
    this.#note(letter);
  }
}
