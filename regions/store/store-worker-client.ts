import { Worker } from 'node:worker_threads';
import { MeridianError } from '../../global/runtime/errors.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import type { EngineCounts } from './store-engine.js';
import type { WorkerCall, WorkerReply, WorkerSettings } from './store-worker-protocol.js';

interface Pending {
  resolve(value: number | EngineCounts | null): void;
  reject(error: unknown): void;
}

/** The writing thread, seen from outside. One that ended by itself rejects what it had been given, and the next call starts another. */
export class StoreWorkerClient {
  readonly #settings: WorkerSettings;
  readonly #pending = new Map<number, Pending>();
  #worker: Promise<Worker> | null = null;
  #nextId = 1;
  #closed = false;

  constructor(settings: WorkerSettings) {
    this.#settings = settings;
  }

  /** Starts the thread and opens the database; rejects as `openForWriting` does. */
  async start(): Promise<void> {
    await this.#running();
  }

  /** Hands the bytes over without copying: their whole ArrayBuffers, which the caller must not use any more. */
  async write(blocks: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    await this.#call(
      { call: 'write', blocks },
      blocks.map((bytes) => bytes.buffer),
    );
  }

  async expire(beforeUnixNano: bigint): Promise<number> {
    return (await this.#call({ call: 'expire', beforeUnixNano })) as number;
  }

  async remove(packs: readonly number[]): Promise<number> {
    return (await this.#call({ call: 'remove', packs })) as number;
  }

  async compact(): Promise<void> {
    await this.#call({ call: 'compact' });
  }

  async counts(): Promise<EngineCounts> {
    return (await this.#call({ call: 'counts' })) as EngineCounts;
  }

  /** Finishes what was given, then ends the thread. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = await this.#worker?.catch(() => null);
    if (!worker) return;
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    this.#post(worker, { call: 'close' }, []).catch(() => {});
    await ended;
  }

  async #call(call: WorkerCall, transfer: readonly ArrayBuffer[] = []): Promise<number | EngineCounts | null> {
    if (this.#closed) throw new MeridianError('shutting-down', `${call.call}: the segment store is closed`, 'never');
    return this.#post(await this.#running(), call, transfer);
  }

  #post(worker: Worker, call: WorkerCall, transfer: readonly ArrayBuffer[]): Promise<number | EngineCounts | null> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.postMessage({ id, call }, transfer);
    });
  }

  #running(): Promise<Worker> {
    this.#worker ??= this.#spawn().catch((error: unknown) => {
      this.#worker = null;
      throw error;
    });
    return this.#worker;
  }

  #spawn(): Promise<Worker> {
    const worker = new Worker(compiledModule('regions/store/store-worker'), { workerData: this.#settings });
    const opened = new Promise<Worker>((resolve, reject) => {
      this.#pending.set(0, { resolve: () => resolve(worker), reject });
    });
    let problem = 'it ended';
    worker.on('message', (message: WorkerReply) => {
      const pending = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      if ('error' in message) {
        const { code, message: text, retry } = message.error;
        pending?.reject(code ? new MeridianError(code, text, retry) : new Error(text));
      } else {
        pending?.resolve(message.value);
      }
    });
    worker.on('error', (error) => {
      problem = error.message;
    });
    worker.on('exit', () => {
      this.#worker = null;
      const all = [...this.#pending.values()];
      this.#pending.clear();
      for (const { reject } of all) {
        reject(new MeridianError('unavailable', `the segment store's writing thread is gone: ${problem}`, 'later'));
      }
    });
    return opened;
  }
}
