import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LIST_OBJECTS_MAX, listAll, type ObjectStorage } from './cold-object-storage.js';

/** One place that keeps objects, empty at first; made for each test. */
export interface ObjectStorageHarness {
  /** What was put before is in it. */
  open(): Promise<ObjectStorage>;
  dispose(): Promise<void>;
}

/** What every `ObjectStorage` promises (cold-object-storage.ts). */
export function objectStorageContract(name: string, makeHarness: () => Promise<ObjectStorageHarness>): void {
  describe(`${name}: object storage contract`, () => {
    let harness: ObjectStorageHarness;
    let storage: ObjectStorage;

    beforeEach(async () => {
      harness = await makeHarness();
      storage = await harness.open();
    });
    afterEach(async () => {
      await storage.close();
      await harness.dispose();
    });

    test('empty storage lists nothing; reading what is not there is not-found, removing it is no error', async () => {
      expect(await storage.list('', null)).toEqual([]);
      expect(await storage.list('some/where', null)).toEqual([]);
      await expect(storage.read('some/where', 0, 1)).rejects.toMatchObject({ code: 'not-found', retry: 'never' });
      await storage.remove('some/where');
    });

    test('any range of an object is read as it was put; a range beyond its end is malformed', async () => {
      const bytes = randomBytes(300_000);
      await storage.put('a/b/object-1.cold', bytes);
      for (const [from, length] of [
        [0, 300_000],
        [0, 1],
        [299_999, 1],
        [1234, 100_000],
        [5, 0],
      ] as const) {
        expect(await storage.read('a/b/object-1.cold', from, length)).toEqual(bytes.subarray(from, from + length));
      }
      for (const [from, length] of [
        [299_999, 2],
        [300_000, 1],
        [400_000, 10],
      ] as const) {
        await expect(storage.read('a/b/object-1.cold', from, length)).rejects.toMatchObject({ code: 'malformed' });
      }
    });

    test('putting again replaces the object as a whole; removing removes it', async () => {
      await storage.put('x', Buffer.from('a longer first text'));
      await storage.put('x', Buffer.from('second'));
      expect(await storage.list('', null)).toEqual([{ name: 'x', bytes: 6 }]);
      expect((await storage.read('x', 0, 6)).toString()).toBe('second');
      await storage.remove('x');
      expect(await storage.list('', null)).toEqual([]);
      await expect(storage.read('x', 0, 1)).rejects.toMatchObject({ code: 'not-found' });
    });

    test('lists are in order of the whole names, by prefix, after a name', async () => {
      const names = ['a-b', 'a.b', 'a/b', 'a/c/d', 'a0', 'b/a', 'ba'];
      for (const name of [...names].reverse()) await storage.put(name, Buffer.from(name));
      const listed = async (prefix: string, after: string | null = null) =>
        (await storage.list(prefix, after)).map((object) => object.name);
      expect(await listed('')).toEqual([...names].sort());
      expect(await listed('a/')).toEqual(['a/b', 'a/c/d']);
      expect(await listed('a/c')).toEqual(['a/c/d']);
      expect(await listed('b')).toEqual(['b/a', 'ba']);
      expect(await listed('', 'a/b')).toEqual(['a/c/d', 'a0', 'b/a', 'ba']);
      expect(await listed('a', 'a/bb')).toEqual(['a/c/d', 'a0']);
      expect(await listed('', 'ba')).toEqual([]);
    });

    test('lists go on after their limit', async () => {
      const names = Array.from({ length: LIST_OBJECTS_MAX + 1 }, (_, i) => `n/${String(i).padStart(5, '0')}`);
      for (let i = 0; i < names.length; i += 50) {
        await Promise.all(names.slice(i, i + 50).map((name) => storage.put(name, Buffer.alloc(1))));
      }
      expect(await storage.list('n/', null)).toHaveLength(LIST_OBJECTS_MAX);
      expect((await listAll(storage, 'n/')).map((object) => object.name)).toEqual(names);
    });

    test('what was put is there after opening again', async () => {
      await storage.put('kept/one', Buffer.from('1'));
      await storage.close();
      storage = await harness.open();
      expect(await storage.list('kept/', null)).toEqual([{ name: 'kept/one', bytes: 1 }]);
    });
  });
}
