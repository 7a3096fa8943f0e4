import { encodeFeedRecord } from '../index/feed-codec.js';
import { type LogAppender, type LogOffsets, type LogReads, type LogRecord, mirroredTopic } from '../log/span-log.js';
import { TOPICS } from '../log/topics.js';
import type { RegionId } from '../model/ids.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import { mirrorGroup, mirrorOffsetsTopic } from './mirror-maker-config.js';
import { encodeMirrorGap, MIRROR_GAP_HEADER } from './mirror-position.js';

/** Where MirrorMaker goes on in one partition of a source's topic, and whether records are lost on the way there. */
export interface MirrorPlace {
  readonly topic: string;
  readonly partition: number;
  /** `kept`: it has a place that is still there. `beginning`: it begins with the first record there ever was. `moved`: records are missing before it. */
  readonly outcome: 'kept' | 'beginning' | 'moved';
  /** Offset at the source. */
  readonly nextOffset: number;
  /** Why it was moved, for people; empty where it was not. */
  readonly reason: string;
}

interface PartitionFacts {
  /** Offset of the oldest record at the source, and the offset after the last. */
  readonly start: number;
  readonly end: number;
  /** Where MirrorMaker itself has noted that it goes on; null where it has not. */
  readonly stored: number | null;
  /** Where the group says that it begins as long as it has noted nothing; null where it says nothing. */
  readonly committed: number | null;
  /** Offset after the last record of the mirrored topic. */
  readonly mirroredEnd: number;
}

/** Decides where a partition goes on. Pure. */
export function mirrorPlace(facts: PartitionFacts): Pick<MirrorPlace, 'outcome' | 'nextOffset' | 'reason'> {
  const { start, end, stored, committed, mirroredEnd } = facts;
  const known = stored ?? committed;
  // A mirrored topic without a record was made anew: the place speaks of records that are not there any more.
  const lost = mirroredEnd === 0 && (known ?? 0) > 0;
  if (known !== null && !lost && start <= known && known <= end) {
    return { outcome: 'kept', nextOffset: known, reason: '' };
  }
  if (start === 0 && mirroredEnd === 0) return { outcome: 'beginning', nextOffset: 0, reason: '' };
  return { outcome: 'moved', nextOffset: start, reason: whyMoved(facts, known) };
}

function whyMoved({ start, end, mirroredEnd }: PartitionFacts, known: number | null): string {
  const had = known === null ? 'nobody knows how far it was mirrored' : `it was mirrored up to ${known}`;
  if (known !== null && known > end && mirroredEnd > 0) return `the source ends at ${end} and ${had}: it was made anew`;
  if (start > 0)
    return `the source has deleted what is before ${start}, and ${mirroredEnd === 0 ? 'nothing of it is here' : had}`;
  return `${had}, and the mirrored topic has records`;
}

/**
 * Offers the mirrors of other regions the beginning of this region's topics: their groups' commits are set to 0 wherever a partition still has its
 * first record and the group has no commit. A MirrorMaker that has no place yet begins there; one that has is not disturbed. For a region's
 * start, once its topics are made; resolves with the number of commits that were made.
 */
export async function offerBeginning(
  log: LogOffsets,
  topics: readonly string[],
  targets: readonly RegionId[],
): Promise<number> {
  let made = 0;
  for (const topic of topics) {
    const starts = await log.starts(topic);
    for (const target of targets) {
      const group = mirrorGroup(target);
      const committed = await log.committed(group, topic);
      for (const [partition, start] of starts.entries()) {
        if (start !== 0 || committed[partition] !== null) continue;
        await log.rewind(group, topic, partition, 0);
        made++;
      }
    }
  }
  return made;
}

export interface PrepareMirrorOptions {
  readonly source: RegionId;
  readonly target: RegionId;
  readonly sourceLog: LogOffsets & LogReads;
  readonly targetLog: LogAppender & LogOffsets & LogReads;
  /** By their names at the source. One that is not there yet is left out. */
  readonly topics: readonly string[];
  readonly clock: Clock;
}

/** How far the clock of a source's log may be behind ours where nothing tells its time, milliseconds. */
const SKEW_MS = 60_000;

/**
 * Sees to it that a MirrorMaker that is stopped has a place in every partition of the source, without skipping anything unnoted: a partition
 * whose place is missing or deleted goes on at the oldest record that is there, and a record that says so (`meridian-mirror-gap`) is appended to
 * the mirrored topic first. Safe to repeat and to interrupt. Rejects with what the logs reject with; `not-found` where the mirrored topic is
 * not there and a gap has to be noted.
 */
export async function prepareMirror(options: PrepareMirrorOptions): Promise<MirrorPlace[]> {
  const { source, target, sourceLog, targetLog, topics } = options;
  const stored = await storedPlaces(targetLog, source);
  const places: MirrorPlace[] = [];
  for (const topic of topics) {
    const starts = await orNothing(sourceLog.starts(topic));
    const ends = await orNothing(sourceLog.ends(topic));
    const committed = await orNothing(sourceLog.committed(mirrorGroup(target), topic));
    const mirroredEnds = await orNothing(targetLog.ends(mirroredTopic(source, topic)));
    for (const [partition, start] of starts.entries()) {
      const mine = stored.get(placeKey(topic, partition));
      const place = mirrorPlace({
        start,
        end: ends[partition] ?? start,
        stored: mine?.nextOffset ?? null,
        committed: committed[partition] ?? null,
        mirroredEnd: mirroredEnds[partition] ?? 0,
      });
      // The note first: a crash after it repeats it, a crash before it changes nothing.
      if (place.outcome === 'moved') await noteGap(options, topic, partition, start);
      if (place.outcome !== 'kept') {
        await sourceLog.rewind(mirrorGroup(target), topic, partition, place.nextOffset);
        if (mine) await forgetPlace(targetLog, source, mine);
      }
      places.push({ topic, partition, ...place });
    }
  }
  return places;
}

/** A feed record that tells of nothing but the gap: what is missing was appended before the first record that is there. */
async function noteGap(options: PrepareMirrorOptions, topic: string, partition: number, start: number): Promise<void> {
  const { source, sourceLog, targetLog, clock } = options;
  // Only the feed vouches for anything; the other topics are read by those who look for what is there.
  if (topic !== TOPICS.traceMetadata) return;
  const [first] = await sourceLog.read(topic, partition, start, 1);
  const value = encodeFeedRecord({ region: source, traces: [], catalogue: [], watermark: null });
  const headers = { [MIRROR_GAP_HEADER]: encodeMirrorGap(first?.appendedMs ?? clock.nowMs() + SKEW_MS) };
  await targetLog.append(mirroredTopic(source, topic), partition, [{ key: null, value, headers }]);
}

interface StoredPlace {
  readonly nextOffset: number | null;
  /** Where the note stands: the next one of this partition must have the same key in the same place to replace it. */
  readonly key: Uint8Array;
  readonly inPartition: number;
}

const READ_BYTES_MAX = 4 * 1024 * 1024;

/**
 * What MirrorMaker has noted for a source, by topic and partition. The notes are those of Kafka Connect: key
 * `["MirrorSourceConnector",{"cluster":SOURCE,"partition":P,"topic":T}]`, value `{"offset":N}`, N the last record that was mirrored and -1 none.
 */
async function storedPlaces(log: LogOffsets & LogReads, source: RegionId): Promise<Map<string, StoredPlace>> {
  const topic = mirrorOffsetsTopic(source);
  const places = new Map<string, StoredPlace>();
  const starts = await orNothing(log.starts(topic));
  for (const [inPartition, start] of starts.entries()) {
    for (let next = start; ; ) {
      const records = await log.read(topic, inPartition, next, READ_BYTES_MAX);
      for (const record of records) {
        const place = readNote(record, source, topic);
        if (!place) continue;
        places.set(place.of, { nextOffset: place.nextOffset, key: record.key!, inPartition });
      }
      const last = records.at(-1);
      if (!last) break;
      next = last.offset + 1;
    }
  }
  return places;
}

function readNote(
  record: LogRecord,
  source: RegionId,
  notes: string,
): { of: string; nextOffset: number | null } | null {
  const text = Buffer.from(record.key ?? []).toString();
  try {
    const key: unknown = JSON.parse(text);
    if (!Array.isArray(key) || key[0] !== CONNECTOR) return null;
    const { cluster, topic, partition } = key[1] as Record<string, unknown>;
    if (cluster !== source || typeof topic !== 'string' || typeof partition !== 'number') return null;
    const value = record.value.length > 0 ? (JSON.parse(Buffer.from(record.value).toString()) as unknown) : null;
    const offset = (value as { offset?: unknown } | null)?.offset;
    const nextOffset = typeof offset === 'number' && offset >= 0 ? offset + 1 : null;
    return { of: placeKey(topic, partition), nextOffset };
  } catch (error) {
    throw new MeridianError(
      'malformed',
      `${notes}, offset ${record.offset}: not a note of Kafka Connect: ${text}`,
      'never',
      {
        cause: error,
      },
    );
  }
}

const CONNECTOR = 'MirrorSourceConnector';

/** With -1 MirrorMaker counts as one that has no place, and begins where the group says. */
async function forgetPlace(log: LogAppender, source: RegionId, { key, inPartition }: StoredPlace): Promise<void> {
  await log.append(mirrorOffsetsTopic(source), inPartition, [
    { key, value: Buffer.from('{"offset":-1}'), headers: {} },
  ]);
}

function placeKey(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/** Empty where the topic is not there (yet). */
async function orNothing<T>(asked: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof MeridianError && error.code === 'not-found') return [];
    throw error;
  }
}
