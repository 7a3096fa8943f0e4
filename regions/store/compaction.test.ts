import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { COMPACTION, CompactionPlan } from './compaction.js';
import type { SmallPack } from './store-tables.js';

const EAST = 'us-east-1' as RegionId;
const WINDOW = BigInt(COMPACTION.windowMs) * 1_000_000n;

function pack(number: number, bytes: number, more: Partial<SmallPack> = {}): SmallPack {
  return {
    pack: number,
    source: EAST,
    ids: [`us-east-1/0/0/${number}` as BlockId],
    bytes,
    startUnixNanoMax: WINDOW * 100n,
    ...more,
  };
}

describe('compaction plan', () => {
  test('packs a group when it has enough packs, oldest first; not one earlier', () => {
    const plan = new CompactionPlan();
    for (let i = 1; i < COMPACTION.groupPacksMin; i++) plan.note(pack(i, 10));
    expect(plan.takeDue()).toBeNull();
    plan.note(pack(COMPACTION.groupPacksMin, 10));
    const taken = plan.takeDue()!;
    expect(taken.map((p) => p.pack)).toEqual(Array.from({ length: COMPACTION.groupPacksMin }, (_, i) => i + 1));
    expect(plan.takeDue()).toBeNull();
    expect(plan.remembered).toBe(0);
  });

  test('packs a group when it has enough bytes; a pack of enough bytes is left as it is', () => {
    const plan = new CompactionPlan();
    plan.note(pack(1, COMPACTION.packBytesMin));
    expect(plan.remembered).toBe(0);
    const bytes = COMPACTION.packBytesMin - 1;
    const needed = Math.ceil(COMPACTION.groupBytesMin / bytes);
    for (let i = 1; i < needed; i++) plan.note(pack(i, bytes));
    expect(plan.takeDue()).toBeNull();
    plan.note(pack(needed, bytes));
    expect(plan.takeDue()).toHaveLength(needed);
  });

  test('keeps sources and windows of time apart', () => {
    const plan = new CompactionPlan();
    for (let i = 0; i < COMPACTION.groupPacksMin - 1; i++) {
      plan.note(pack(3 * i, 10));
      plan.note(pack(3 * i + 1, 10, { source: 'us-west-2' as RegionId }));
      plan.note(pack(3 * i + 2, 10, { startUnixNanoMax: WINDOW * 101n }));
    }
    expect(plan.takeDue()).toBeNull();
  });

  test('forgets the oldest groups beyond its limit', () => {
    const plan = new CompactionPlan();
    for (let i = 0; i < COMPACTION.rememberedMax; i++) plan.note(pack(i, 10, { startUnixNanoMax: WINDOW * BigInt(i) }));
    expect(plan.remembered).toBe(COMPACTION.rememberedMax);
    plan.note(pack(-1, 10, { startUnixNanoMax: 0n }));
    expect(plan.remembered).toBe(COMPACTION.rememberedMax - 1);
  });
});
