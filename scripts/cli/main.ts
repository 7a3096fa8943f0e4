import { createInterface } from 'node:readline';
import { CommanderError } from 'commander';
import { messageOf } from '../../global/runtime/errors.js';
import { ExitCode, exitCodeOf } from './exit-codes.js';
import { createProgram } from './program.js';
import type { Terminal } from './terminal.js';

const stopping = new AbortController();
let signals = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // A child of a fleet shares the terminal's Ctrl-C; its parent decides when it stops.
    if (signal === 'SIGINT' && process.send) return;
    signals += 1;
    if (signals > 1) process.exit(ExitCode.failed);
    stopping.abort();
  });
}
process.on('disconnect', () => stopping.abort());
// `meridian search | head` closes the pipe early; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(ExitCode.done);
});

const tty = process.stdout.isTTY === true;
const terminal: Terminal = {
  colors: tty && !process.env.NO_COLOR,
  width: Math.min(process.stdout.columns ?? 120, 200),
  out: (line) => process.stdout.write(`${line}\n`),
  note: (line) => process.stderr.write(`${line}\n`),
  progress: (line) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line}`);
  },
  ...(process.stdin.isTTY && process.stderr.isTTY ? { ask } : {}),
};

/** Ctrl-C and Ctrl-D leave the question. */
function ask(question: string): Promise<string> {
  // Not a "terminal" to readline, which would keep Ctrl-C for itself.
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  return new Promise((resolve) => {
    const leave = () => lines.close();
    stopping.signal.addEventListener('abort', leave, { once: true });
    lines.once('close', () => {
      stopping.signal.removeEventListener('abort', leave);
      resolve('');
    });
    lines.question(question, (answer) => {
      resolve(answer);
      lines.close();
    });
  });
}

const program = createProgram(
  { terminal, environment: process.env, stop: stopping.signal },
  {
    send: (message) => process.send?.(message),
    crash: () => process.kill(process.pid, 'SIGKILL'),
  },
  end,
);

/** Ends once what was written has left: a pipe takes a whole trace only bit by bit. */
function end(code: ExitCode): void {
  process.exitCode = code;
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    end(error.exitCode === 0 ? ExitCode.done : ExitCode.usage);
  } else {
    terminal.note(`meridian: ${messageOf(error)}`);
    end(exitCodeOf(error));
  }
}
