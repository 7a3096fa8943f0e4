import { Counter, type Registry } from 'prom-client';
import { backoffMs } from '../../global/runtime/backoff.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { BlockDocument } from './elasticsearch-document.js';
import { isFailure } from './elasticsearch-errors.js';
import { AdaptiveGate } from './elasticsearch-gate.js';

/** What came of one document of a bulk. */
export interface BulkItem {
  readonly status: number;
  readonly error?: { readonly type: string; readonly reason?: string | null };
}

/** Sends one bulk; resolves with an item per document, in their order. Rejects where the whole was refused. */
export type SendBulk = (documents: readonly BlockDocument[]) => Promise<readonly BulkItem[]>;

export interface BulkWriterOptions {
  readonly send: SendBulk;
  readonly clock: Clock;
  readonly registry: Registry;
  /** Requests on their way at once. Default 4. */
  readonly concurrencyMax: number;
  /** Of one request; a larger document goes alone. Default 8 MiB. */
  readonly bytesMax: number;
  readonly blocksMax: number;
  /** How long documents go on being rejected, with none of their bulk accepted, before the call gives up (`unavailable`). */
  readonly budgetMs: number;
  /** Ends waits between attempts: what is still rejected then fails. */
  readonly signal: AbortSignal;
}

/** What is wrong with a document itself. Everything else may be put right without it. */
const DOCUMENT_FAULTS: ReadonlySet<string> = new Set(['document_parsing_exception', 'mapper_parsing_exception']);
/** Bulks do not get smaller, but for documents that are. */
export const BULK_BYTES_MIN = 32 * 1024;
/** From nothing to the largest size in so many accepted bulks. */
const BULK_BYTES_STEPS = 32;
const WAIT = { firstMs: 50, maxMs: 5_000 } as const;

/**
 * Documents to Elasticsearch in bulks that are bounded in bytes, count and number, and adapt to 429 in its three shapes: a whole request
 * refused (smaller and fewer requests), single items refused (only those again), and a cluster that stays full (`unavailable`).
 */
export class BulkWriter {
  readonly #options: BulkWriterOptions;
  readonly #gate: AdaptiveGate;
  readonly #rejections: Counter<'shape'>;
  /** Of one bulk: halved by a rejection, grown while they are accepted. */
  #bytes: number;

  constructor(options: BulkWriterOptions) {
    this.#options = options;
    this.#gate = new AdaptiveGate(options.concurrencyMax);
    this.#bytes = options.bytesMax;
    this.#rejections = new Counter({
      name: 'meridian_store_bulk_rejections_total',
      help: 'Bulk requests, or documents of them, that Elasticsearch had no room for (429)',
      labelNames: ['shape'],
      registers: [options.registry],
    });
  }

  /**
   * Resolves when all are durable. Rejects with `unavailable`, or with `invalid` or `too-large` naming the document that Elasticsearch does
   * not take; in each case when nothing is on its way any more, and others of the call may have been stored.
   */
  async write(documents: readonly BlockDocument[]): Promise<void> {
    await all(this.#cut(documents).map((batch) => this.#send(batch, this.#deadlineMs())));
  }

  async #send(documents: readonly BlockDocument[], firstDeadlineMs: number): Promise<void> {
    let deadlineMs = firstDeadlineMs;
    for (let left = documents, failures = 0; ; ) {
      const outcome = await this.#attempt(left);
      if (outcome.rejected.length === 0) return;
      if (outcome.rejected.length < left.length) {
        failures = 0;
        deadlineMs = this.#deadlineMs();
      }
      left = outcome.rejected;
      const { clock, signal } = this.#options;
      const waitMs = backoffMs(WAIT, ++failures);
      if (signal.aborted || clock.monotonicMs() + waitMs > deadlineMs) {
        const message = `write ${left.length} blocks: Elasticsearch has no room (${outcome.reason}), ${failures} attempts`;
        throw new MeridianError('unavailable', message, 'later', { retryAfterMs: waitMs });
      }
      await clock.sleep(waitMs, signal);
      const smaller = this.#cut(left);
      if (smaller.length > 1) return all(smaller.map((batch) => this.#send(batch, deadlineMs)));
    }
  }

  async #attempt(documents: readonly BlockDocument[]): Promise<{ rejected: readonly BlockDocument[]; reason: string }> {
    await this.#gate.enter();
    try {
      const items = await this.#options.send(documents);
      const rejected = documents.filter((document, i) => isRejected(document, items[i]));
      if (rejected.length === 0) this.#accepted();
      else this.#rejected('items', rejected.length);
      const first = items.find(({ status }) => status === 429);
      return { rejected, reason: first?.error?.reason ?? '' };
    } catch (error) {
      if (isFailure(error, 'rejected')) {
        this.#rejected('request', 1);
        return { rejected: documents, reason: error.message };
      }
      // Too long a request: its documents may fit one by one.
      if (error instanceof MeridianError && error.code === 'too-large' && documents.length > 1) {
        this.#rejected('too-large', 1);
        return { rejected: documents, reason: error.message };
      }
      throw error;
    } finally {
      this.#gate.leave();
    }
  }

  #accepted(): void {
    const { bytesMax } = this.#options;
    this.#gate.accepted();
    this.#bytes = Math.min(bytesMax, this.#bytes + Math.ceil(bytesMax / BULK_BYTES_STEPS));
  }

  #rejected(shape: string, count: number): void {
    this.#rejections.inc({ shape }, count);
    this.#gate.rejected();
    const least = Math.min(BULK_BYTES_MIN, this.#options.bytesMax);
    this.#bytes = Math.max(least, Math.floor(this.#bytes / 2));
  }

  #deadlineMs(): number {
    return this.#options.clock.monotonicMs() + this.#options.budgetMs;
  }

  #cut(documents: readonly BlockDocument[]): BlockDocument[][] {
    return cutBulks(documents, this.#bytes, this.#options.blocksMax);
  }
}

/** Cuts into groups of at most so many bytes and documents, in order; a document that is larger stands alone. Pure. */
export function cutBulks(documents: readonly BlockDocument[], bytesMax: number, countMax: number): BlockDocument[][] {
  const groups: BlockDocument[][] = [];
  let bytes = 0;
  for (const document of documents) {
    const group = groups.at(-1);
    if (!group || group.length >= countMax || bytes + document.json.length > bytesMax) {
      groups.push([document]);
      bytes = document.json.length;
    } else {
      group.push(document);
      bytes += document.json.length;
    }
  }
  return groups;
}

/** Throws where the document cannot be stored, or may be later for another reason than 429. */
function isRejected({ id }: BlockDocument, item: BulkItem | undefined): boolean {
  if (!item) throw new MeridianError('unavailable', `write block ${id}: Elasticsearch did not answer for it`, 'later');
  const { status, error } = item;
  if (status === 429) return true;
  if (status < 300) return false;
  const message = `write block ${id}: ${error?.type ?? 'no reason'}: ${error?.reason ?? ''} (${status})`;
  const permanent = DOCUMENT_FAULTS.has(error?.type ?? '') || status === 413;
  throw new MeridianError(permanent ? 'invalid' : 'unavailable', message, permanent ? 'never' : 'later');
}

/** Waits for all, then throws the first failure; one that cannot get better before one that can. */
async function all(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const failures = results.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : []));
  if (failures.length === 0) return;
  throw failures.find((error) => !(error instanceof MeridianError) || error.retry === 'never') ?? failures[0];
}
