import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Requests } from './elasticsearch-client.js';
import { isFailure } from './elasticsearch-errors.js';
import type { SchemaNames } from './elasticsearch-schema.js';
import {
  encodeSnapshotRecord,
  isSnapshotName,
  parseSnapshotRecord,
  type SnapshotEngine,
  type SnapshotRecord,
} from './snapshot-record.js';

export interface SnapshotPlace {
  /** Name of the repository. Stores of several prefixes may share it: a snapshot's name begins with the prefix. */
  readonly repository: string;
  /**
   * A shared folder, below the nodes' `path.repo`: the repository is made where it is missing. Left out: it has been made by whoever runs Elasticsearch, of
   * any type (S3 with its keys in Elasticsearch's keystore, say).
   */
  readonly location?: string;
  /** Until a snapshot or a restore has to be complete. Default 2 h. */
  readonly budgetMs?: number;
}

export interface ElasticsearchSnapshotsOptions extends SnapshotPlace {
  readonly requests: Requests;
  readonly names: SchemaNames;
  readonly clock: Clock;
  /** Called when indices have been restored. */
  restored(): Promise<void>;
}

const BUDGET_MS = 2 * 3_600_000;
const POLL_MS = 1_000;

interface FoundSnapshot {
  readonly snapshot: string;
  readonly state: string;
  readonly metadata?: { readonly meridian?: unknown };
  readonly indices: readonly string[];
  readonly failures?: readonly { readonly reason?: string }[];
}

/** Elasticsearch's own snapshots, which hold what earlier ones do not; the record is their metadata. */
export function createElasticsearchSnapshots(options: ElasticsearchSnapshotsOptions): SnapshotEngine {
  return new ElasticsearchSnapshots(options);
}

class ElasticsearchSnapshots implements SnapshotEngine {
  readonly #options: ElasticsearchSnapshotsOptions;
  readonly #prefix: string;

  constructor(options: ElasticsearchSnapshotsOptions) {
    this.#options = options;
    this.#prefix = `${options.names.read}-`;
  }

  async create(record: SnapshotRecord): Promise<void> {
    const { requests, names, clock, budgetMs = BUDGET_MS } = this.#options;
    await this.#ensureRepository();
    const what = `take snapshot ${record.name} in repository ${this.#options.repository}`;
    const body = {
      indices: names.pattern,
      include_global_state: false,
      metadata: { meridian: encodeSnapshotRecord(record) },
    };
    const query = { wait_for_completion: false };
    try {
      await requests.request({ what, method: 'PUT', path: this.#path(record.name), query, body });
    } catch (error) {
      // Another process of the region was faster by its schedule: its snapshot is as good.
      if ((await this.#find(record.name)).length === 0) throw error;
    }
    const deadlineMs = clock.monotonicMs() + budgetMs;
    for (;;) {
      const [found] = await this.#find(record.name);
      if (found?.state === 'SUCCESS') return;
      if (found && found.state !== 'IN_PROGRESS') {
        const reason = found.failures?.[0]?.reason ?? 'no reason was given';
        throw new MeridianError('unavailable', `${what}: it is ${found.state}: ${reason}`, 'later');
      }
      await this.#wait(deadlineMs, what);
    }
  }

  async list(): Promise<readonly SnapshotRecord[]> {
    await this.#ensureRepository();
    const found = await this.#find('*');
    return found.flatMap(({ snapshot, state, metadata }) =>
      state === 'SUCCESS' &&
      isSnapshotName(snapshot.slice(this.#prefix.length)) &&
      typeof metadata?.meridian === 'string'
        ? [parseSnapshotRecord(metadata.meridian, `snapshot ${snapshot}`)]
        : [],
    );
  }

  async remove(name: string): Promise<void> {
    try {
      await this.#options.requests.request({
        what: `remove snapshot ${name}`,
        method: 'DELETE',
        path: this.#path(name),
      });
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
    }
  }

  async restore(name: string): Promise<void> {
    const { requests, names, clock, budgetMs = BUDGET_MS } = this.#options;
    const what = `restore snapshot ${name} of repository ${this.#options.repository}`;
    const [found] = await this.#find(name);
    if (!found) throw new MeridianError('not-found', `${what}: there is none of the name`, 'never');
    const present = Object.keys(
      await requests.request<Readonly<Record<string, object>>>({
        what,
        method: 'GET',
        path: `/${names.pattern}`,
        query: { ignore_unavailable: true, allow_no_indices: true, expand_wildcards: 'all' },
      }),
    );
    // Newer ones first: of two indices with the alias for writes the store would not know which.
    for (const index of present.filter((one) => !found.indices.includes(one))) {
      await requests.request({ what: `${what}: remove the newer index ${index}`, method: 'DELETE', path: `/${index}` });
    }
    for (const index of present.filter((one) => found.indices.includes(one))) {
      await requests.request({ what: `${what}: close index ${index}`, method: 'POST', path: `/${index}/_close` });
    }
    if (found.indices.length === 0) return this.#options.restored();
    await requests.request({
      what,
      method: 'POST',
      path: `${this.#path(name)}/_restore`,
      query: { wait_for_completion: false },
      body: { indices: found.indices.join(','), include_global_state: false, include_aliases: true },
    });
    const deadlineMs = clock.monotonicMs() + budgetMs;
    while (!(await this.#complete(found.indices, what))) await this.#wait(deadlineMs, what);
    await this.#options.restored();
  }

  /** Whether every primary shard has its data. */
  async #complete(indices: readonly string[], what: string): Promise<boolean> {
    const { status } = await this.#options.requests.request<{ readonly status: string }>({
      what,
      method: 'GET',
      path: `/_cluster/health/${indices.join(',')}`,
      query: { level: 'cluster' },
    });
    return status === 'green' || status === 'yellow';
  }

  async #wait(deadlineMs: number, what: string): Promise<void> {
    const { clock, budgetMs = BUDGET_MS } = this.#options;
    if (clock.monotonicMs() > deadlineMs) {
      throw new MeridianError(
        'timeout',
        `${what}: not complete after ${budgetMs} ms; Elasticsearch goes on with it`,
        'later',
      );
    }
    await clock.sleep(POLL_MS);
  }

  async #find(name: string): Promise<readonly FoundSnapshot[]> {
    try {
      const { snapshots } = await this.#options.requests.request<{ readonly snapshots: readonly FoundSnapshot[] }>({
        what: `list snapshots of repository ${this.#options.repository}`,
        method: 'GET',
        path: this.#path(name),
        query: { ignore_unavailable: true },
      });
      return snapshots;
    } catch (error) {
      if (isFailure(error, 'missing')) return [];
      throw error;
    }
  }

  async #ensureRepository(): Promise<void> {
    const { requests, repository, location } = this.#options;
    const path = `/_snapshot/${repository}`;
    try {
      await requests.request({ what: `read snapshot repository ${repository}`, method: 'GET', path });
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
      if (location === undefined) {
        const message = `Elasticsearch has no snapshot repository ${repository}: make it, or configure a location below its path.repo`;
        throw new MeridianError('configuration', message, 'later', { cause: error });
      }
      const body = { type: 'fs', settings: { location } };
      await requests.request({
        what: `make snapshot repository ${repository} at ${location}`,
        method: 'PUT',
        path,
        body,
      });
    }
  }

  #path(name: string): string {
    return `/_snapshot/${this.#options.repository}/${this.#prefix}${name}`;
  }
}
