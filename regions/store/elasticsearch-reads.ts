import { backoffMs } from '../../global/runtime/backoff.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { Call, Requests } from './elasticsearch-client.js';
import { isFailure } from './elasticsearch-errors.js';
import { AdaptiveGate } from './elasticsearch-gate.js';

/** Attempts of a read that Elasticsearch has no room for (429). */
export const READ_ATTEMPTS = 8;
const WAIT = { firstMs: 20, maxMs: 500 } as const;

/** Requests that read: fewer at once, and again, while Elasticsearch has no room for them. The last rejection is thrown. */
export class PatientReads implements Requests {
  readonly #requests: Requests;
  readonly #clock: Clock;
  readonly #gate: AdaptiveGate;
  readonly #closing: AbortSignal;

  /** `closing` ends waits between attempts. */
  constructor(requests: Requests, clock: Clock, concurrencyMax: number, closing: AbortSignal) {
    this.#requests = requests;
    this.#clock = clock;
    this.#gate = new AdaptiveGate(concurrencyMax);
    this.#closing = closing;
  }

  async request<T>(call: Call): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      await this.#gate.enter();
      try {
        const result = await this.#requests.request<T>(call);
        this.#gate.accepted();
        return result;
      } catch (error) {
        if (!isFailure(error, 'rejected')) throw error;
        this.#gate.rejected();
        if (attempt === READ_ATTEMPTS || call.signal?.aborted) throw error;
      } finally {
        this.#gate.leave();
      }
      await this.#clock.sleep(backoffMs(WAIT, attempt), call.signal ?? this.#closing);
    }
  }
}
