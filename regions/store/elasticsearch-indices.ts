import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { ElasticsearchClient } from './elasticsearch-client.js';
import { ElasticsearchError, isFailure } from './elasticsearch-errors.js';
import {
  checkIndex,
  checkOwner,
  type FoundIndex,
  type IndexSettings,
  indexTemplate,
  type SchemaNames,
} from './elasticsearch-schema.js';

/** When a new index takes the writes: as soon as one of them is reached. */
export interface RolloverLimits {
  readonly ageMs: number;
  readonly shardBytes: number;
  readonly blocks: number;
}

interface FoundTemplates {
  readonly index_templates: readonly {
    readonly index_template: { readonly _meta?: { readonly meridian?: unknown; readonly version?: unknown } };
  }[];
}

/** Index template, indices and aliases of the store. */
export class ElasticsearchIndices {
  readonly #client: ElasticsearchClient;
  readonly #names: SchemaNames;
  readonly #settings: IndexSettings;
  readonly #limits: RolloverLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #known: { names: readonly string[]; atMs: number } | null = null;

  constructor(options: {
    client: ElasticsearchClient;
    names: SchemaNames;
    settings: IndexSettings;
    limits: RolloverLimits;
    clock: Clock;
    logger: Logger;
  }) {
    this.#client = options.client;
    this.#names = options.names;
    this.#settings = options.settings;
    this.#limits = options.limits;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /**
   * Makes what is missing, and checks what is there. Rejects with `configuration` where an index or the template is somebody else's, has been
   * changed, or cannot be made; `unknown-version` where it is another build's; `unavailable`.
   */
  async ensure(): Promise<void> {
    const { template, write, firstIndex } = this.#names;
    await this.#ensureTemplate();
    if (await this.#check()) return;
    try {
      await this.#client.request({
        what: `make index ${firstIndex}`,
        method: 'PUT',
        path: `/${firstIndex}`,
        body: { aliases: { [write]: {} } },
      });
    } catch (error) {
      // Another process of the region may have been faster.
      if (!isRefusal(error)) throw error;
      if (!(await this.#check())) throw refused(`make index ${firstIndex}`, error);
      return;
    }
    // A template of higher priority may have had its say.
    if (!(await this.#check())) {
      const message = `index ${firstIndex} was made by template ${template}, and is not in the alias ${write}`;
      throw new MeridianError('configuration', message, 'never');
    }
  }

  /** Every index there is, known for at most `maxAgeMs`. */
  async list(maxAgeMs: number): Promise<readonly string[]> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#known && nowMs - this.#known.atMs <= maxAgeMs) return this.#known.names;
    const names = Object.keys(await this.#aliased(this.#names.read));
    this.#known = { names, atMs: nowMs };
    return names;
  }

  /** The index that takes writes. */
  async writing(): Promise<string | null> {
    return Object.keys(await this.#aliased(this.#names.write))[0] ?? null;
  }

  /** Lets a new index take the writes if the present one has reached a limit; resolves with its name. */
  async rollOver(): Promise<string | null> {
    const { ageMs, shardBytes, blocks } = this.#limits;
    const result = await this.#client.request<{ rolled_over: boolean; old_index: string; new_index: string }>({
      what: `roll over ${this.#names.write}`,
      method: 'POST',
      path: `/${this.#names.write}/_rollover`,
      body: {
        conditions: {
          max_age: `${ageMs}ms`,
          max_primary_shard_size: `${shardBytes}b`,
          max_docs: blocks,
          min_docs: 1,
        },
      },
    });
    if (!result.rolled_over) return null;
    this.#known = null;
    this.#logger.info({ index: result.new_index, before: result.old_index }, 'segment store: a new index takes writes');
    return result.new_index;
  }

  /** Warm indices take no writes, and deletes are writes. */
  async allowDeletes(indices: readonly string[]): Promise<void> {
    if (indices.length > 0) await this.#set(indices, { 'index.blocks.write': null });
  }

  /** Settings of indices, of those that are (still) there. */
  async #set(indices: readonly string[], settings: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#client.request({
      what: `set ${Object.keys(settings).join(', ')} of ${indices.join(', ')}`,
      method: 'PUT',
      path: `/${indices.join(',')}/_settings`,
      query: { ignore_unavailable: true },
      body: settings,
    });
  }

  /** Which indices take no writes: those that are warm. */
  async warm(): Promise<readonly string[]> {
    const found = await this.#client.request<
      Readonly<Record<string, { settings: { 'index.blocks.write'?: unknown } }>>
    >({
      what: `read which indices of ${this.#names.read} are warm`,
      method: 'GET',
      path: `/${this.#names.read}/_settings/index.blocks.write`,
      query: { flat_settings: true },
    });
    return Object.entries(found)
      .filter(([, { settings }]) => String(settings['index.blocks.write']) === 'true')
      .map(([name]) => name);
  }

  /**
   * Makes an index that takes no more writes cheap to keep: one Lucene segment a shard (which can take minutes; deleted blocks leave the disk), other
   * replicas where they are given, and no writes from then on.
   */
  async makeWarm(index: string, replicas: number | undefined): Promise<void> {
    const other = replicas === undefined ? {} : { 'index.number_of_replicas': replicas };
    await this.#set([index], { 'index.blocks.write': true, ...other });
    await this.#client.request({
      what: `merge index ${index} into one`,
      method: 'POST',
      path: `/${index}/_forcemerge`,
      query: { max_num_segments: 1, wait_for_completion: false },
    });
    this.#logger.info({ index }, 'segment store: an index is warm');
  }

  async remove(index: string): Promise<void> {
    await this.#client.request({ what: `remove index ${index}`, method: 'DELETE', path: `/${index}` });
    this.#known = null;
  }

  /** All that was written is visible to lists then. */
  async refresh(index = this.#names.read): Promise<void> {
    const { _shards } = await this.#client.request<{ _shards: { failed: number } }>({
      what: `refresh ${index}`,
      method: 'POST',
      path: `/${index}/_refresh`,
    });
    if (_shards.failed > 0) {
      throw new MeridianError('unavailable', `refresh ${index}: ${_shards.failed} shards failed`, 'later');
    }
  }

  async #ensureTemplate(): Promise<void> {
    const { template } = this.#names;
    const path = `/_index_template/${template}`;
    try {
      const found = await this.#client.request<FoundTemplates>({
        what: `read template ${template}`,
        method: 'GET',
        path,
      });
      for (const { index_template } of found.index_templates) checkOwner(`template ${template}`, index_template._meta);
    } catch (error) {
      if (!isFailure(error, 'missing')) throw refused(`read template ${template}`, error);
    }
    try {
      const body = indexTemplate(this.#names, this.#settings);
      await this.#client.request({ what: `make template ${template}`, method: 'PUT', path, body });
    } catch (error) {
      throw refused(`make template ${template}`, error);
    }
  }

  /** Checks every index; false where none takes writes. */
  async #check(): Promise<boolean> {
    const { pattern, read, write } = this.#names;
    const found = await this.#found([pattern, read, write]);
    let writing = 0;
    for (const [name, index] of Object.entries(found)) {
      if (name === read || name === write) {
        const message = `an index has the name ${name}, which is for the segment store's alias: choose another index prefix, or remove it`;
        throw new MeridianError('configuration', message, 'never');
      }
      checkIndex(name, index, this.#names);
      if (write in index.aliases) writing++;
    }
    if (writing > 1) {
      throw new MeridianError('configuration', `the alias ${write} names ${writing} indices, not one`, 'never');
    }
    // Indices, but none for writes: somebody took the alias away. The first index's name may be in use: that is told by the attempt to make it.
    return writing === 1;
  }

  async #found(names: readonly string[]): Promise<Readonly<Record<string, FoundIndex>>> {
    const query = { ignore_unavailable: true, allow_no_indices: true, expand_wildcards: 'all' };
    const what = `read the indices ${names.join(', ')}`;
    try {
      return await this.#client.request({ what, method: 'GET', path: `/${names.join(',')}`, query });
    } catch (error) {
      if (isFailure(error, 'missing')) return {};
      throw refused(what, error);
    }
  }

  async #aliased(alias: string): Promise<Readonly<Record<string, object>>> {
    return this.#client.request({ what: `read alias ${alias}`, method: 'GET', path: `/_alias/${alias}` });
  }
}

function isRefusal(error: unknown): error is ElasticsearchError {
  return error instanceof ElasticsearchError && error.kind === 'other';
}

/** What Elasticsearch refuses at the start is for people to put right; other failures pass. */
function refused(what: string, error: unknown): unknown {
  if (!isRefusal(error)) return error;
  return new MeridianError('configuration', `${what}: Elasticsearch refused: ${messageOf(error)}`, 'never', {
    cause: error,
  });
}
