import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { packageRoot } from '../../global/runtime/package-root.js';
import { decodeHeaders } from './headers-codec.js';
import { SqliteCatalog } from './sqlite-catalog.js';
import { Slice } from './sqlite-slice.js';

/** What an earlier build wrote must be read by this one. A change of format takes a new version and one more golden file. */
describe('files of format 1', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'meridian-golden-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function unpack(name: string, as = name): string {
    const path = join(folder, as);
    writeFileSync(path, gunzipSync(readFileSync(join(packageRoot, 'regions/log/golden', `${name}.gz`))));
    return path;
  }

  test('a sealed slice', () => {
    const slice = Slice.open(unpack('slice-v1.db'))!;
    expect(slice.sealed).toBe(true);
    expect(slice.newestMs).toBe(1_700_000_000_123);
    expect(slice.places.map((p) => [p.firstOffset, p.endOffset])).toEqual([
      [5, 7],
      [7, 8],
    ]);
    const first = slice.read(0, 5);
    expect([first.offset, first.appendedMs, Buffer.from(first.key!).toString()]).toEqual([5, 1_700_000_000_000, 'k']);
    expect(Buffer.concat(first.chunks).toString()).toBe('hello');
    expect(decodeHeaders(Buffer.from(first.headers))).toEqual({ h: Buffer.from([255]) });
    const large = slice.read(1, 7);
    expect(large.key).toBe(null);
    expect(Buffer.concat(large.chunks).equals(Buffer.alloc(70_000, 'ab'))).toBe(true);
    expect(Buffer.concat(slice.read(0, 6).chunks)).toHaveLength(0);
    slice.close();
  });

  test('the catalog', () => {
    unpack('catalog-v1.db', 'log.db');
    const catalog = new SqliteCatalog(folder);
    expect(catalog.topics()).toEqual([
      { name: 'region-control', partitions: 1, retentionMs: 1, compacted: true },
      { name: 'spans', partitions: 8, retentionMs: 14_400_000, compacted: false },
    ]);
    expect(catalog.commits()).toEqual([['assembler', 'spans', 3, 42]]);
    catalog.close();
  });
});
