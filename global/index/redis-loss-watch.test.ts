import { describe, expect, test } from 'vitest';
import type { RegionId } from '../model/ids.js';
import { LossWatch } from './redis-loss-watch.js';
import type { ShardView } from './redis-view.js';
import type { ReceivedRecord } from './trace-index.js';

const EU = 'eu-west-1' as RegionId;
const bare = { region: EU, partition: 0, partitionCount: 1, watermarkUnixNano: 9n };
const watermark = { ...bare, vouchedFromUnixNano: 3n };
const records: ReceivedRecord[] = [{ region: EU, traces: [], watermark, catalogue: [] }];
const position = (partition: number) => ({ topic: 't', partition, nextOffset: 5, vouchedFromUnixNano: 3n });

function view(generation: string, writes: number): ShardView {
  const none = new Map();
  return { generation, writes, shards: 1, regionNames: none, regionNumbers: none, days: none, begun: none, folds: [] };
}

function watch() {
  const losses: string[] = [];
  return { losses, watch: new LossWatch((why) => losses.push(why)) };
}

describe('loss watch', () => {
  test('as long as nothing is lost all is believed', () => {
    const { watch: w, losses } = watch();
    w.saw(0, view('a', 0));
    w.wrote(0, 7);
    w.saw(0, view('a', 7));
    w.saw(1, view('b', 0));
    expect(w.believed(records, position(0))).toEqual({ watermarks: [watermark], position: position(0) });
    expect(w.believed(records, null)).toEqual({ watermarks: [watermark], position: null });
    expect(losses).toEqual([]);
  });

  test.each([
    ['empty', null],
    ['of another generation', view('b', 9)],
    ['behind', view('a', 6)],
  ])('where the shard is %s, nothing is believed of a partition until it has asked', async (_, found) => {
    const { watch: w, losses } = watch();
    w.saw(0, view('a', 0));
    w.wrote(0, 7);
    await w.asking('t', 1, async () => null);
    w.believed(records, position(0));
    w.saw(0, found);
    expect(losses).toHaveLength(1);
    expect(w.believed(records, position(0))).toEqual({ watermarks: [bare], position: null });
    expect(w.believed(records, position(1)).position).toBeNull();
    expect(w.believed(records, null).watermarks).toEqual([bare]);
    await w.asking('t', 1, async () => null);
    expect(w.believed(records, position(1))).toEqual({ watermarks: [watermark], position: position(1) });
    expect(w.believed(records, position(0)).position).toBeNull();
    expect(w.believed(records, null).watermarks).toEqual([bare]);
    await w.asking('t', 0, async () => null);
    expect(w.believed(records, null).watermarks).toEqual([watermark]);
  });

  test('an answer that was under way when the loss was noticed does not count', async () => {
    const { watch: w } = watch();
    w.saw(0, view('a', 1));
    await w.asking('t', 0, async () => w.saw(0, null));
    expect(w.believed(records, position(0)).position).toBeNull();
  });

  test('clearing is no loss', () => {
    const { watch: w, losses } = watch();
    w.saw(0, view('a', 4));
    w.believed(records, position(0));
    w.cleared(0, view('b', 0));
    w.saw(0, view('b', 0));
    expect(losses).toEqual([]);
    expect(w.believed(records, position(0)).position).toEqual(position(0));
  });
});
