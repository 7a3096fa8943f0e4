import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeFeedRecord } from '../index/feed-codec.js';
import { MemoryLog } from '../log/testing/memory-log.js';
import { MemoryLogSession } from '../log/testing/memory-log-session.js';
import type { RegionId } from '../model/ids.js';
import { ManualClock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import { mirrorGroup, mirrorOffsetsTopic } from './mirror-maker-config.js';
import { mirrorPlace, offerBeginning, prepareMirror } from './mirror-places.js';
import { readMirrorGap } from './mirror-position.js';

const there = 'us-west-2' as RegionId;
const here = 'eu-west-1' as RegionId;
const FEED = 'trace-metadata';
const MIRROR = `${there}.${FEED}`;
const NOTES = mirrorOffsetsTopic(there);
const GROUP = mirrorGroup(here);

describe('where a partition goes on', () => {
  const facts = { start: 0, end: 100, stored: null, committed: null, mirroredEnd: 0 };

  test.each([
    ['a first start', {}, 'beginning', 0],
    ['a first start that was offered the beginning', { committed: 0 }, 'kept', 0],
    ['a region that joined late', { start: 40 }, 'moved', 40],
    ['the offered beginning was deleted before it began', { committed: 0, start: 40 }, 'moved', 40],
    ['a restart', { stored: 70, committed: 0, mirroredEnd: 70 }, 'kept', 70],
    ['a restart at the very end', { stored: 100, mirroredEnd: 100 }, 'kept', 100],
    ['a restart at the very start', { start: 40, stored: 40, mirroredEnd: 40 }, 'kept', 40],
    ['one past the start', { start: 41, stored: 40, mirroredEnd: 40 }, 'moved', 41],
    ['one past the end: the source was made anew', { stored: 101, mirroredEnd: 101 }, 'moved', 0],
    ['the mirrored topic was made anew', { stored: 70 }, 'beginning', 0],
    ['the mirrored topic was made anew, the beginning is gone', { start: 40, stored: 70 }, 'moved', 40],
    ['the same where only the group knows', { start: 40, committed: 40 }, 'moved', 40],
    ['nobody knows how far it came', { mirroredEnd: 50 }, 'moved', 0],
  ] as const)('%s', (_, over, outcome, nextOffset) => {
    expect(mirrorPlace({ ...facts, ...over })).toMatchObject({ outcome, nextOffset });
  });

  test('a reason for people exactly where it was moved; the place is one that the source has', () => {
    const offset = fc.nat(20);
    const maybe = fc.option(offset, { nil: null });
    fc.assert(
      fc.property(offset, offset, maybe, maybe, offset, (start, length, stored, committed, mirroredEnd) => {
        const end = start + length;
        const place = mirrorPlace({ start, end, stored, committed, mirroredEnd });
        expect(place.reason === '').toBe(place.outcome !== 'moved');
        expect(place.nextOffset).toBeGreaterThanOrEqual(start);
        expect(place.nextOffset).toBeLessThanOrEqual(end);
        // Without a word only what was mirrored, or all there ever was, lies before it.
        if (place.outcome === 'beginning') expect(place.nextOffset).toBe(0);
        if (place.outcome === 'kept') expect(place.nextOffset).toBe(stored ?? committed);
      }),
    );
  });
});

const key = (partition: number) =>
  Buffer.from(`["MirrorSourceConnector",{"cluster":"${there}","partition":${partition},"topic":"${FEED}"}]`);
const record = (value: string, k: Buffer | null = null) => ({ key: k, value: Buffer.from(value), headers: {} });
const spec = (name: string, partitions: number) => ({ name, partitions, retentionMs: 3_600_000, compacted: false });

function setUp() {
  const clock = new ManualClock(1_000_000);
  const source = new MemoryLog(() => clock.nowMs());
  const target = new MemoryLog(() => clock.nowMs());
  source.ensure([spec(FEED, 2)]);
  target.ensure([spec(MIRROR, 2), spec(NOTES, 1)]);
  const prepare = () =>
    prepareMirror({
      source: there,
      target: here,
      sourceLog: new MemoryLogSession(source),
      targetLog: new MemoryLogSession(target),
      topics: [FEED, 'segments'],
      clock,
    });
  const write = (count: number) => {
    for (let i = 0; i < count; i++) source.append(FEED, 0, [record(`${i}`)]);
  };
  /** As MirrorMaker does: what it has mirrored, and its note of that. */
  const mirrored = (count: number) => {
    for (let i = 0; i < count; i++) target.append(MIRROR, 0, [record(`${i}`)]);
    target.append(NOTES, 0, [record(`{"offset":${count - 1}}`, key(0))]);
  };
  const notes = () => target.records(NOTES, 0).map(({ value }) => Buffer.from(value).toString());
  return { clock, source, target, prepare, write, mirrored, notes };
}

describe('preparing a MirrorMaker', () => {
  test('a first start: the groups begin at 0, nothing is noted; a topic that is not there is left out', async () => {
    const { source, target, prepare } = setUp();
    const places = await prepare();
    expect(places.map(({ topic, partition, outcome }) => [topic, partition, outcome])).toEqual([
      [FEED, 0, 'beginning'],
      [FEED, 1, 'beginning'],
    ]);
    expect(source.commitsOf(GROUP, FEED)).toEqual([0, 0]);
    expect(target.records(MIRROR, 0)).toEqual([]);
    expect((await prepare()).map(({ outcome }) => outcome)).toEqual(['kept', 'kept']);
  });

  test('a place that is there is kept, and nothing is written', async () => {
    const { source, target, prepare, write, mirrored, notes } = setUp();
    write(10);
    mirrored(6);
    const before = target.end(MIRROR, 0);
    expect((await prepare())[0]).toMatchObject({ outcome: 'kept', nextOffset: 6 });
    expect(target.end(MIRROR, 0)).toBe(before);
    expect(notes()).toEqual(['{"offset":5}']);
    expect(source.commitsOf(GROUP, FEED)[0]).toBeNull();
  });

  test('a place that was deleted: a note with the time of the first record, then the place, and not twice', async () => {
    const { clock, source, target, prepare, write, mirrored, notes } = setUp();
    write(10);
    mirrored(6);
    clock.advance(5_000);
    write(5);
    source.forget(FEED, 0, 10);
    const [place] = await prepare();
    expect(place).toMatchObject({ outcome: 'moved', nextOffset: 10 });
    expect(place?.reason).toBe('the source has deleted what is before 10, and it was mirrored up to 6');
    const note = target.records(MIRROR, 0).at(-1)!;
    expect(readMirrorGap(note.headers)).toBe(1_005_000);
    expect(source.commitsOf(GROUP, FEED)[0]).toBe(10);
    expect(notes()).toEqual(['{"offset":5}', '{"offset":-1}']);
    expect((await prepare())[0]).toMatchObject({ outcome: 'kept', nextOffset: 10 });
    expect(target.end(MIRROR, 0)).toBe(7);
  });

  test('nothing is left at the source: what is missing was appended before now, with room for its clock', async () => {
    const { clock, source, target, prepare, write, mirrored } = setUp();
    write(10);
    mirrored(6);
    source.forget(FEED, 0, 10);
    await prepare();
    expect(readMirrorGap(target.records(MIRROR, 0).at(-1)!.headers)).toBeGreaterThan(clock.nowMs());
  });

  test('interrupted anywhere and repeated: noted before the place is moved', async () => {
    for (let at = 1; at < 8; at++) {
      const { source, target, prepare, write, mirrored } = setUp();
      write(10);
      mirrored(6);
      source.forget(FEED, 0, 8);
      let calls = 0;
      target.onAppend = () => {
        if (++calls === at) throw new MeridianError('unavailable', 'interrupted', 'later');
      };
      await prepare().catch(() => {});
      const noted = target.records(MIRROR, 0).some(({ headers }) => readMirrorGap(headers) !== null);
      if (source.commitsOf(GROUP, FEED)[0] !== null) expect(noted).toBe(true);
      target.onAppend = () => {};
      expect((await prepare())[0]).toMatchObject({ nextOffset: 8 });
      expect((await prepare())[0]).toMatchObject({ outcome: 'kept', nextOffset: 8 });
    }
  });

  test('the note can be read as a feed record, and says nothing but that', async () => {
    const { source, target, prepare, write } = setUp();
    write(10);
    source.forget(FEED, 0, 9);
    await prepare();
    const [note] = target.records(MIRROR, 0);
    const said = { region: there, traces: [], catalogue: [], watermark: null };
    expect(decodeFeedRecord(Buffer.from(note!.value))).toEqual(said);
  });

  test("notes of other connectors and sources are none of its business; one that is no note of Connect's is told", async () => {
    const { target, prepare, write, mirrored } = setUp();
    write(10);
    mirrored(6);
    target.append(NOTES, 0, [
      record('{"offset":3}', Buffer.from(key(0).toString().replace(there, 'ap-south-1'))),
      record('{"offset":3}', Buffer.from(key(0).toString().replace('MirrorSource', 'MirrorCheckpoint'))),
    ]);
    expect((await prepare())[0]).toMatchObject({ outcome: 'kept', nextOffset: 6 });
    target.append(NOTES, 0, [record('{"offset":3}', Buffer.from('something else'))]);
    await expect(prepare()).rejects.toMatchObject({ code: 'malformed' });
  });
});

describe('offering the beginning', () => {
  test('wherever the first record is there and nobody has said anything', async () => {
    const { source, write } = setUp();
    write(5);
    source.forget(FEED, 0, 2);
    const log = new MemoryLogSession(source);
    const targets = [here, 'ap-south-1' as RegionId];
    expect(await offerBeginning(log, [FEED], targets)).toBe(2);
    expect(source.commitsOf(GROUP, FEED)).toEqual([null, 0]);
    source.commitsOf(GROUP, FEED)[1] = 7;
    expect(await offerBeginning(log, [FEED], targets)).toBe(0);
    expect(source.commitsOf(GROUP, FEED)).toEqual([null, 7]);
  });
});
