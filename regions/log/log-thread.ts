import { Worker } from 'node:worker_threads';
import { invariant, MeridianError, messageOf } from '../../global/runtime/errors.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import type { LogAnswers, LogReply, LogRequest, WorkerOptions, WorkerReady } from './log-protocol.js';
import { fromWireError } from './sqlite-errors.js';

type Opened = Extract<WorkerReady, { ready: true }>;

interface Waiting {
  resolve(answer: LogAnswers[keyof LogAnswers]): void;
  reject(error: Error): void;
}

/** The event loop's side of the log's thread: requests in, answers in the same order. */
export class LogThread {
  readonly #waiting: Waiting[] = [];
  #failure: MeridianError | null = null;

  private constructor(private readonly worker: Worker) {}

  static open(options: WorkerOptions): Promise<{ thread: LogThread; opened: Opened }> {
    const worker = new Worker(compiledModule('regions/log/sqlite-log.worker'), { workerData: options });
    return new Promise((resolve, reject) => {
      const failed = (error: Error) =>
        reject(new MeridianError('unavailable', `opening the log in ${options.folder}: ${error.message}`, 'later'));
      worker.once('error', failed);
      worker.once('message', (message: WorkerReady) => {
        worker.off('error', failed);
        if (!message.ready) {
          void worker.terminate();
          reject(fromWireError(message.error));
          return;
        }
        const thread = new LogThread(worker);
        worker.on('message', (reply: LogReply) => thread.#take(reply));
        worker.on('error', (error) => thread.#fail(messageOf(error)));
        worker.on('exit', () => thread.#fail('it has ended'));
        resolve({ thread, opened: message });
      });
    });
  }

  /** Rejects with what the thread says, or with `unavailable` when it is gone. */
  ask<K extends LogRequest['kind']>(request: LogRequest & { readonly kind: K }): Promise<LogAnswers[K]> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise<LogAnswers[K]>((resolve, reject) => {
      this.#waiting.push({ resolve: (answer) => resolve(answer as LogAnswers[K]), reject });
      this.worker.postMessage(request);
    });
  }

  /** Resolves when the thread has closed its files and ended. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.worker.once('exit', resolve));
    if (this.#failure) return;
    await this.ask({ kind: 'close' });
    await ended;
  }

  #take(reply: LogReply): void {
    const waiting = this.#waiting.shift();
    invariant(waiting, 'the log thread answered what nobody asked');
    if ('error' in reply) waiting.reject(fromWireError(reply.error));
    else waiting.resolve(reply.answer);
  }

  #fail(reason: string): void {
    this.#failure ??= new MeridianError('unavailable', `the log's thread is gone: ${reason}`, 'later');
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
  }
}
