import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block, EncodedBlock } from '../segments/segment.js';
import {
  blockDocument,
  blockTerm,
  DOCUMENT_BLOCK_BYTES_MAX,
  endOfMs,
  kindTerm,
  searchTerms,
  traceTerm,
} from './elasticsearch-document.js';
import { BASE, blockOf, segmentOf, type TestSpan, traceIdOf } from './testing/blocks.js';
import { query, segmentMatches } from './testing/model.js';

const EAST = 'us-east-1' as RegionId;

async function documentOf(spans: readonly TestSpan[]) {
  const block: Block = (await decoded(await blockOf(EAST, 1, [segmentOf(EAST, traceIdOf(1), spans)]))).block;
  const encoded = await blockOf(EAST, 1, block.segments);
  const document = blockDocument(block, encoded);
  return { document, fields: JSON.parse(document.json) as Record<string, unknown>, encoded };
}

async function decoded(encoded: EncodedBlock) {
  return { block: await decodeBlock(encoded) };
}

describe('document of a block', () => {
  test('version 1, as it stands in indices', async () => {
    const span: TestSpan = {
      span: 1,
      service: 'orders',
      name: 'POST /orders',
      kind: 2,
      start: BASE + 1_999_999n,
      end: BASE + 5_000_000_000n,
      error: true,
      attributes: { tenant: 'acme' },
    };
    const { document, fields, encoded } = await documentOf([span]);
    const { frame, ...rest } = fields;
    expect(document.id).toBe('us-east-1/0/1/1');
    expect(document.json).not.toContain('\n');
    expect(Buffer.from(String(frame), 'base64').equals(encoded.bytes)).toBe(true);
    expect(readEncodedBlock(Buffer.from(String(frame), 'base64')).id).toBe(document.id);
    expect({ ...rest, bytes: 0, terms: String(rest.terms).split(' ').sort() }).toEqual(GOLDEN);
  });

  test('beyond the largest: too-large', async () => {
    const encoded = await blockOf(EAST, 1, [segmentOf(EAST, traceIdOf(1), [{ span: 1, start: BASE }])]);
    const { block } = await decoded(encoded);
    const of = (bytes: number) => blockDocument(block, { ...encoded, bytes: Buffer.alloc(bytes) });
    expect(of(DOCUMENT_BLOCK_BYTES_MAX).json.length).toBeGreaterThan(DOCUMENT_BLOCK_BYTES_MAX);
    expect(() => of(DOCUMENT_BLOCK_BYTES_MAX + 1)).toThrow(expect.objectContaining({ code: 'too-large' }));
  });

  test('a block with a match has every term of the search', async () => {
    const text = fc.constantFrom('orders', 'billing', 'é', '');
    const spans = fc.array(
      fc.record({
        span: fc.nat(9),
        service: text,
        name: text,
        kind: fc.nat(5),
        error: fc.boolean(),
        start: fc.constant(BASE),
        attributes: fc.dictionary(fc.constantFrom('a', 'b'), text),
      }),
      { minLength: 1, maxLength: 3 },
    );
    const conditions = fc.record(
      {
        service: text,
        operation: text,
        kind: fc.nat(5),
        error: fc.boolean(),
        attributes: fc.array(fc.record({ key: fc.constantFrom('a', 'b'), value: text }), { maxLength: 2 }),
      },
      { requiredKeys: ['attributes'] },
    );
    await fc.assert(
      fc.asyncProperty(spans, conditions, async (held, wanted) => {
        const search = query(wanted);
        if (!segmentMatches({ traceId: traceIdOf(1), spans: held }, search)) return;
        const terms = String((await documentOf(held)).fields.terms).split(' ');
        expect(terms).toEqual(expect.arrayContaining(searchTerms(search)));
      }),
      { numRuns: 300 },
    );
  });
});

describe('words', () => {
  test('a term is four letters of its lower 24 bits', () => {
    expect([0, 1, 63, 64, -1].map(blockTerm)).toEqual(['AAAA', 'AAAB', 'AAA_', 'AABA', '____']);
    expect(blockTerm(1 << 24)).toBe('AAAA');
  });

  test('kinds are words of their own; those above 30 share one', () => {
    expect([0, 5, 31, 32, 900].map(kindTerm)).toEqual(['k0', 'k5', 'k31', 'k31', 'k31']);
  });

  test('a trace is known by its last six bytes', () => {
    expect(traceTerm('00000000000000000000fffefdfcfbfa' as TraceId)).toBe('__79_Pv6');
    expect(traceTerm('11111111111111111111fffefdfcfbfa' as TraceId)).toBe('__79_Pv6');
  });

  test('the last nanosecond of a millisecond', () => {
    expect(endOfMs(1)).toBe(1_999_999n);
  });
});

const GOLDEN = {
  source: 'us-east-1',
  start_min: 1767225600001,
  start_max: 1767225600001,
  starts: [1767225600],
  span_start_max: 1767225600001,
  duration_max: 4998,
  newest: 1767225605000,
  traces: 'AAAAAAAC',
  bytes: 0,
  terms: ['1prP', '8A6R', '9k0b', 'C5x5', 'Gb7p', '_EN-', 'k2', 'vXr1'],
};
