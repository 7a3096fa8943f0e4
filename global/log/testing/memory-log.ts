import { MeridianError } from '../../runtime/errors.js';
import type { LogEntry, LogRecord, LogSubscription, TopicSpec } from '../span-log.js';

/** Bytes of the value of one entry. */
export const MEMORY_ENTRY_BYTES_MAX = 16 * 1024 * 1024;

interface Partition {
  startOffset: number;
  records: LogRecord[];
}

/** A member of a group, in the process that its session stands for. */
export interface MemoryMember {
  readonly subscription: LogSubscription;
  /** It gives its partitions back and takes no more. */
  leaving: boolean;
}

/**
 * What a log in memory holds: it outlives its sessions, as a disk outlives processes. Tests look at it and disturb it here; the code under
 * test gets a `MemoryLogSession`, which keeps the whole contract of `SpanLog` (`regions/log/memory-log.test.ts`).
 */
export class MemoryLog {
  /** Appends, commits and reads of sessions fail with `unavailable` while this is set. */
  isDown = false;
  /** Called around each append; what it throws is what the append rejects with, before or after the entries are in. */
  onAppend: (when: 'before' | 'after', topic: string, partition: number) => void = () => {};
  readonly #topics = new Map<string, { readonly spec: TopicSpec; readonly partitions: readonly Partition[] }>();
  readonly #commits = new Map<string, (number | null)[]>();
  readonly #members = new Map<string, MemoryMember[]>();
  readonly #owners = new Map<string, MemoryMember>();
  readonly #waiting = new Set<() => void>();

  /** `nowMs`: stamps what is appended. */
  constructor(readonly nowMs: () => number = () => 0) {}

  ensure(specs: readonly TopicSpec[]): void {
    for (const spec of specs) {
      const known = this.#topics.get(spec.name);
      if (known && known.spec.partitions !== spec.partitions) {
        const counts = `${known.spec.partitions} partitions, not ${spec.partitions}`;
        throw new MeridianError('configuration', `topic ${spec.name} has ${counts}`, 'never');
      }
      if (known) continue;
      const partitions = Array.from({ length: spec.partitions }, (): Partition => ({ startOffset: 0, records: [] }));
      this.#topics.set(spec.name, { spec, partitions });
    }
  }

  append(topic: string, partition: number, entries: readonly LogEntry[]): { firstOffset: number } {
    this.onAppend('before', topic, partition);
    const { records } = this.#partition(topic, partition);
    const firstOffset = this.end(topic, partition);
    for (const { value } of entries) {
      if (value.length <= MEMORY_ENTRY_BYTES_MAX) continue;
      throw new MeridianError('too-large', `append to ${topic}: an entry of ${value.length} bytes`, 'never');
    }
    entries.forEach(({ key, value, headers }, i) => {
      records.push({
        key: key && Buffer.from(key),
        value: Buffer.from(value),
        headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, Buffer.from(bytes)])),
        offset: firstOffset + i,
        appendedMs: this.nowMs(),
      });
    });
    this.wake();
    this.onAppend('after', topic, partition);
    return { firstOffset };
  }

  /** The records that are retained. */
  records(topic: string, partition: number): readonly LogRecord[] {
    return this.#partition(topic, partition).records;
  }

  /** Those of all partitions, one partition after the other. */
  all(topic: string): readonly LogRecord[] {
    return this.#topic(topic).partitions.flatMap(({ records }) => records);
  }

  start(topic: string, partition: number): number {
    return this.#partition(topic, partition).startOffset;
  }

  end(topic: string, partition: number): number {
    const { startOffset, records } = this.#partition(topic, partition);
    return startOffset + records.length;
  }

  partitionCount(topic: string): number {
    return this.#topic(topic).spec.partitions;
  }

  /** Forgets the records before the offset, as retention does. */
  forget(topic: string, partition: number, before: number): void {
    const found = this.#partition(topic, partition);
    found.records = found.records.filter(({ offset }) => offset >= before);
    found.startOffset = Math.max(found.startOffset, before);
  }

  /** Forgets what is older than its topic's retention. */
  expire(): void {
    for (const [topic, { spec, partitions }] of this.#topics) {
      const oldestMs = this.nowMs() - spec.retentionMs;
      partitions.forEach(({ records }, partition) => {
        const kept = records.find(({ appendedMs }) => appendedMs >= oldestMs);
        this.forget(topic, partition, kept?.offset ?? this.end(topic, partition));
      });
    }
  }

  /** The group's commits, to be read or set. */
  commitsOf(group: string, topic: string): (number | null)[] {
    const key = `${group} ${topic}`;
    const known = this.#commits.get(key);
    if (known) return known;
    const commits = new Array<number | null>(this.partitionCount(topic)).fill(null);
    this.#commits.set(key, commits);
    return commits;
  }

  /** Members of the group that take the topic, in the order in which they joined. */
  membersOf(group: string, topic: string): readonly MemoryMember[] {
    return (this.#members.get(group) ?? []).filter(({ subscription }) => subscription.topics.includes(topic));
  }

  join(member: MemoryMember): void {
    const { group } = member.subscription;
    this.#members.set(group, [...(this.#members.get(group) ?? []), member]);
    this.wake();
  }

  leave(member: MemoryMember): void {
    const { group } = member.subscription;
    this.#members.set(
      group,
      (this.#members.get(group) ?? []).filter((other) => other !== member),
    );
    for (const [place, owner] of this.#owners) if (owner === member) this.#owners.delete(place);
    this.wake();
  }

  /** Whether the partition is dealt to this member, as things stand. */
  isFor(member: MemoryMember, topic: string, partition: number): boolean {
    const staying = this.membersOf(member.subscription.group, topic).filter(({ leaving }) => !leaving);
    return staying[partition % staying.length] === member;
  }

  /** Makes it the owner; false while another one is. */
  take(member: MemoryMember, topic: string, partition: number): boolean {
    const place = `${member.subscription.group} ${topic}/${partition}`;
    if (this.#owners.has(place)) return false;
    this.#owners.set(place, member);
    return true;
  }

  release(member: MemoryMember, topic: string, partition: number): void {
    this.#owners.delete(`${member.subscription.group} ${topic}/${partition}`);
    this.wake();
  }

  /** Resolves when something has happened. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  #topic(name: string) {
    const topic = this.#topics.get(name);
    if (!topic) throw new MeridianError('not-found', `no topic ${name}`, 'never');
    return topic;
  }

  #partition(topic: string, partition: number): Partition {
    const found = this.#topic(topic).partitions[partition];
    if (!found) throw new MeridianError('not-found', `no partition ${topic}/${partition}`, 'never');
    return found;
  }
}
