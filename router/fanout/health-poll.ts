import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { withTimeLimit } from './deadline.js';
import type { RegionPeer } from './fetch-trace.js';
import { failureOf } from './outcome.js';

export interface HealthPollOptions {
  readonly everyMs: number;
  readonly deadlineMs: number;
}

export const HEALTH_POLL_DEFAULTS: HealthPollOptions = { everyMs: 1000, deadlineMs: 2000 };

/** Asks every region for its status, again and again, so that `since` is known before a reader meets the failure. */
export class HealthPoll {
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly peers: ReadonlyMap<RegionId, RegionPeer>,
    private readonly clock: Clock,
    private readonly options: HealthPollOptions = HEALTH_POLL_DEFAULTS,
  ) {}

  start(): void {
    this.#running = Promise.all([...this.peers.values()].map((peer) => this.#follow(peer)));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Each region at its own pace: a hung one delays no other. */
  async #follow(peer: RegionPeer): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await pollOnce(peer, this.clock, this.options.deadlineMs, signal);
      await this.clock.sleep(this.options.everyMs, signal);
    }
  }
}

/** One poll; never rejects. What it learns goes into the peer's health. */
export async function pollOnce(
  peer: RegionPeer,
  clock: Clock,
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const { region, client, health } = peer;
  try {
    const status = await withTimeLimit(clock, deadlineMs, signal, `asking ${region} for its status`, (own) =>
      client.status({ deadlineMs, signal: own }),
    );
    if (status.region !== region) {
      throw new MeridianError('malformed', `asked ${region} for its status, "${status.region}" answered`, 'never');
    }
    health.pollSucceeded(status);
  } catch (error) {
    if (!signal?.aborted) health.pollFailed(failureOf(error));
  }
}
