import type { LogReads } from '../../global/log/span-log.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { compareSearchPositions, type SearchPosition, type SearchRequest } from '../../global/model/query.js';
import { joinTracesData } from '../../global/otlp/join.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import { type CompiledQuery, compileQuery, matchSegment } from '../segments/match.js';
import type { Segment } from '../segments/segment.js';
import type { SearchMatch, SearchPage } from '../store/segment-store.js';
import type { HeldBlock, HeldSegment, HeldSegments } from './held-segments.js';
import { NewestFirst } from './newest-first.js';
import type { OpenTrace, OpenTraces } from './open-traces.js';
import type { LivePartition, LiveSegments } from './open-traces-reader.js';
import { mayMatch } from './prefilter.js';

export interface LiveSources {
  readonly source: RegionId;
  /** The open traces of the partitions that are owned now. */
  readonly open: () => Iterable<OpenTraces>;
  readonly held: HeldSegments;
  readonly log: LogReads;
  readonly segmentsTopic: string;
  readonly partitions: () => readonly LivePartition[];
}

interface Candidate {
  readonly position: SearchPosition;
  readonly open: OpenTrace | null;
  readonly held: HeldSegment | null;
}

/** Verified candidates between two turns of the event loop. */
const CANDIDATES_PER_TURN = 256;

/** Reads what the assembler holds; see `LiveSegments`. Blocks whose payload was given up for memory are read back from the log. */
export class HeldAndOpenSegments implements LiveSegments {
  readonly #sources: LiveSources;

  constructor(sources: LiveSources) {
    this.#sources = sources;
  }

  partitions(source: RegionId): readonly LivePartition[] {
    return source === this.#sources.source ? this.#sources.partitions() : [];
  }

  get(source: RegionId, traceId: TraceId): Promise<readonly Segment[]> {
    if (source !== this.#sources.source) return Promise.resolve([]);
    const segments: Segment[] = [];
    const givenUp: HeldSegment[] = [];
    for (const open of this.#sources.open()) {
      const trace = open.get(traceId);
      if (trace) segments.push(segmentOf(trace));
    }
    for (const held of this.#sources.held.get(traceId)) {
      if (held.payload) segments.push({ ...withoutBlock(held), payload: held.payload });
      else givenUp.push(held);
    }
    if (givenUp.length === 0) return Promise.resolve(segments);
    return this.#readBack(segments, givenUp);
  }

  async #readBack(segments: Segment[], givenUp: readonly HeldSegment[]): Promise<readonly Segment[]> {
    const blocks = new BlockReader(this.#sources);
    for (const held of givenUp) {
      const segment = await blocks.segment(held);
      if (segment) segments.push(segment);
    }
    return segments;
  }

  async search(request: SearchRequest, signal?: AbortSignal): Promise<SearchPage> {
    if (request.source !== this.#sources.source) return { matches: [], next: null };
    const candidates = this.#candidates(request);
    const blocks = new BlockReader(this.#sources);
    const query = compileQuery(request.query);
    const matches: SearchMatch[] = [];
    const seen = new Set<TraceId>();
    let last: SearchPosition | null = request.after;
    let turn = 0;
    for (let candidate = candidates.pop(); candidate; candidate = candidates.pop()) {
      if (++turn % CANDIDATES_PER_TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      // The first one is always looked at, so that each page goes on beyond the one before.
      if (turn > 1 && signal?.aborted) return { matches, next: last };
      last = candidate.position;
      if (seen.has(last.traceId)) continue;
      const metadata = candidate.open
        ? matchOpen(candidate.open, query)
        : await this.#matchHeld(candidate.held!, query, blocks);
      if (!metadata) continue;
      seen.add(last.traceId);
      matches.push({ position: last, metadata });
      if (matches.length >= request.limit) return { matches, next: candidates.size > 0 ? last : null };
    }
    return { matches, next: null };
  }

  /** All that the metadata do not rule out, as of now. */
  #candidates({ query, after }: SearchRequest): NewestFirst<Candidate> {
    const candidates: Candidate[] = [];
    const offer = (open: OpenTrace | null, held: HeldSegment | null) => {
      const metadata = (open ?? held)!.metadata;
      if (!mayMatch(metadata, query)) return;
      const position = { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId };
      if (!after || compareSearchPositions(after, position) < 0) candidates.push({ position, open, held });
    };
    const { open, held } = this.#sources;
    if (query.traceIds) {
      for (const traceId of new Set(query.traceIds)) {
        for (const traces of open()) {
          const trace = traces.get(traceId);
          if (trace) offer(trace, null);
        }
        for (const segment of held.get(traceId)) offer(null, segment);
      }
    } else {
      for (const traces of open()) for (const trace of traces.values()) offer(trace, null);
      for (const segment of held.values()) offer(null, segment);
    }
    return new NewestFirst(candidates);
  }

  async #matchHeld(held: HeldSegment, query: CompiledQuery, blocks: BlockReader) {
    const segment = held.payload ? { ...withoutBlock(held), payload: held.payload } : await blocks.segment(held);
    return segment && matchSegment(segment, query) ? segment.metadata : null;
  }
}

/** A condition holds on one span, and a span stands in one part: each part is looked at alone, nothing is copied. */
function matchOpen(trace: OpenTrace, query: CompiledQuery) {
  const segment = { ...openSegment(trace), metadata: trace.metadata };
  return trace.payloads.some((payload) => matchSegment({ ...segment, payload }, query)) ? segment.metadata : null;
}

function segmentOf(trace: OpenTrace): Segment {
  const payloads = trace.payloads;
  return {
    ...openSegment(trace),
    metadata: trace.metadata,
    payload: payloads.length === 1 ? Buffer.from(payloads[0]!) : joinTracesData(payloads),
  };
}

/** An open trace is shown as if it were closed for want of a better word: the flag `closed` is what tells. */
function openSegment({ receivedFirstMs, receivedLastMs }: OpenTrace) {
  return { closeReason: 'drain', receivedFirstMs, receivedLastMs } as const;
}

function withoutBlock({ metadata, closeReason, receivedFirstMs, receivedLastMs }: HeldSegment) {
  return { metadata, closeReason, receivedFirstMs, receivedLastMs };
}

/** Reads each block once for one question. */
class BlockReader {
  readonly #sources: LiveSources;
  readonly #blocks = new Map<HeldBlock, Promise<readonly Segment[] | null>>();

  constructor(sources: LiveSources) {
    this.#sources = sources;
  }

  /** Null where the log does not retain the block any more. */
  async segment(held: HeldSegment): Promise<Segment | null> {
    const { block } = held;
    if (!block) return null;
    let reading = this.#blocks.get(block);
    if (!reading) {
      reading = this.#read(block);
      this.#blocks.set(block, reading);
    }
    return (await reading)?.[block.segments.indexOf(held)] ?? null;
  }

  async #read(block: HeldBlock): Promise<readonly Segment[] | null> {
    const { log, segmentsTopic, held } = this.#sources;
    const what = `block ${block.id} at offset ${block.offset} of ${segmentsTopic}/${block.partition}`;
    try {
      const [record] = await log.read(segmentsTopic, block.partition, block.offset, 1);
      if (record?.offset !== block.offset) {
        held.release(block);
        return null;
      }
      return (await decodeBlock(readEncodedBlock(asBuffer(record.value)))).segments;
    } catch (error) {
      throw new MeridianError('unavailable', `reading back ${what}: ${messageOf(error)}`, 'later', { cause: error });
    }
  }
}
