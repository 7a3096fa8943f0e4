import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { EncodedBlock, Segment } from '../segments/segment.js';
import type { SearchWork } from './search-walk.js';
import type { SearchPage } from './segment-store.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/** Metrics of a segment store. A registry holds those of one store. */
export class StoreMetrics {
  readonly #writeSeconds: Histogram;
  readonly #getSeconds: Histogram;
  readonly #searchSeconds: Histogram;
  readonly #blocks: Counter;
  readonly #bytes: Counter;
  readonly #spans: Counter;
  readonly #expired: Counter;
  readonly #segmentsRead: Counter;
  readonly #searchPacks: Counter;

  constructor(registry: Registry, cache: { readonly bytes: number }) {
    const registers = [registry];
    const histogram = (name: string, help: string) => new Histogram({ name, help, registers, buckets: SECONDS });
    const counter = (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, registers, labelNames });
    this.#writeSeconds = histogram('meridian_store_write_seconds', 'Blocks given to the store until they are durable');
    this.#getSeconds = histogram('meridian_store_get_seconds', 'Reading a trace by id');
    this.#searchSeconds = histogram('meridian_store_search_seconds', 'One page of a search');
    this.#blocks = counter('meridian_store_blocks_total', 'Blocks written');
    this.#bytes = counter('meridian_store_written_bytes_total', 'Encoded bytes of the blocks written');
    this.#spans = counter('meridian_store_spans_total', 'Spans in the blocks written');
    this.#expired = counter('meridian_store_expired_blocks_total', 'Blocks removed by retention');
    this.#segmentsRead = counter('meridian_store_read_segments_total', 'Segments given out by id or as a match', [
      'by',
    ]);
    this.#searchPacks = counter('meridian_store_search_packs_total', 'Packs that searches came by', ['step']);
    new Gauge({
      name: 'meridian_store_cache_bytes',
      help: 'Inflated blocks in memory',
      registers,
      collect() {
        this.set(cache.bytes);
      },
    });
  }

  wrote(blocks: readonly EncodedBlock[], ms: number): void {
    this.#writeSeconds.observe(ms / 1000);
    this.#blocks.inc(blocks.length);
    for (const block of blocks) {
      this.#bytes.inc(block.bytes.length);
      this.#spans.inc(block.spanCount);
    }
  }

  got(segments: readonly Segment[], ms: number): void {
    this.#getSeconds.observe(ms / 1000);
    this.#segmentsRead.inc({ by: 'id' }, segments.length);
  }

  searched(page: SearchPage, work: SearchWork, ms: number): void {
    this.#searchSeconds.observe(ms / 1000);
    this.#segmentsRead.inc({ by: 'search' }, page.matches.length);
    this.#searchPacks.inc({ step: 'listed' }, work.packsListed);
    this.#searchPacks.inc({ step: 'inflated' }, work.packsInflated);
  }

  expired(blocks: number): void {
    this.#expired.inc(blocks);
  }
}
