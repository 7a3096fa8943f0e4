import { Command, Option } from 'commander';
import { environmentName } from '../../global/runtime/options.js';
import { controlCommand } from './commands/control.js';
import { type DoctorOptions, doctorCommand } from './commands/doctor.js';
import {
  type EnginesUpOptions,
  enginesActCommand,
  enginesDownCommand,
  enginesStatusCommand,
  enginesUpCommand,
} from './commands/engines.js';
import { type FleetOptions, fleetCommand } from './commands/fleet.js';
import { reconcileCommand, replayCommand } from './commands/maintain.js';
import {
  type MirrorConfigOptions,
  type MirrorPrepareOptions,
  mirrorConfigCommand,
  mirrorPrepareCommand,
} from './commands/mirror.js';
import { type ParentChannel, type RoleOptions, roleCommand } from './commands/role.js';
import { type SearchOptions, searchCommand } from './commands/search.js';
import { type SendOptions, sendCommand } from './commands/send.js';
import {
  type SnapshotCreateOptions,
  type SnapshotListOptions,
  snapshotCreateCommand,
  snapshotListCommand,
} from './commands/snapshot.js';
import { type SnapshotRestoreOptions, snapshotRestoreCommand } from './commands/snapshot-restore.js';
import { statusCommand } from './commands/status.js';
import { indexCommand, type TraceOptions, traceCommand } from './commands/trace.js';
import type { CommandContext, TargetOptions } from './context.js';
import type { ExitCode } from './exit-codes.js';

const DEFAULT_DATA_DIR = '.meridian';
const DEFAULT_REGIONS = 'us-east-1,us-west-2,eu-west-1';

/** An option that is also an environment variable: MERIDIAN_ and its name in capitals. */
function option(flags: string, description: string, standard?: string): Option {
  const made = new Option(flags, description);
  if (standard !== undefined) made.default(standard);
  return made.env(environmentName(made.attributeName()));
}

/** The command line. `finish` is told the exit code of the command that ran. */
export function createProgram(
  context: CommandContext,
  parent: ParentChannel,
  finish: (code: ExitCode) => void,
): Command {
  const program = new Command('meridian');
  program
    .description('Federated multi-region tracing: spans stay in their region, one query finds them all.')
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for what there is)')
    .exitOverride();

  const data = () => option('--data <dir>', 'folder of the fleet', DEFAULT_DATA_DIR);
  const target = (command: Command) =>
    command
      .addOption(data())
      .addOption(option('--router <region>', 'ask the router of this region first'))
      .addOption(option('--url <url>', 'ask the router at this URL instead of a local fleet'));
  const json = () => new Option('--json', "the router's JSON instead of text");

  const enginesOption = (standard?: string) =>
    option(
      '--engines <kind>',
      'embedded: nothing else installed; local: Kafka, MirrorMaker, Elasticsearch and Redis (Java 17, Maven, redis-server)',
      standard,
    ).choices(['embedded', 'local']);

  program
    .command('fleet')
    .description('run the whole fleet on this machine until Ctrl-C; data survive a restart')
    .addOption(enginesOption('embedded'))
    .addOption(data())
    .addOption(option('--workload <on|off>', 'sample services that send spans', 'on'))
    .addOption(option('--rate <n>', 'requests per second of the workload', '5'))
    .addOption(option('--port-offset <n|auto>', 'added to every port; auto takes free ports', '0'))
    .addOption(option('--regions <a,b,c>', 'the regions, at most 5', DEFAULT_REGIONS))
    .addOption(option('--grace-ms <ms>', 'a region is skipped once its watermark is this far past a trace', '30000'))
    .addOption(option('--link-delay-ms <ms>', 'delay on every link between regions, to try out distance', '0'))
    .action(async (options: FleetOptions) => finish(await fleetCommand(context, options)));

  for (const verb of ['stop', 'start'] as const) {
    const command = program
      .command(`${verb} <region>`)
      .description(verb === 'stop' ? 'take a region of the local fleet down' : 'bring a region of the local fleet up')
      .addOption(data())
      .action(async (region: string, options: { data: string; kill?: boolean }) =>
        finish(await controlCommand(context, verb, region, options)),
      );
    if (verb === 'stop') command.option('--kill', 'by SIGKILL, as a crash would');
  }

  for (const role of ['region', 'router'] as const) {
    program
      .command(role)
      .description(`run one ${role} in this process; SIGTERM drains`)
      .addOption(option('--config <file>', 'its configuration (JSON)').makeOptionMandatory())
      .action(async (options: RoleOptions) => finish(await roleCommand(context, role, options, parent)));
  }

  program
    .command('send')
    .description('send known cross-region traces by OTLP and print their ids')
    .addOption(data())
    .addOption(option('--traces <n>', 'how many', '1'))
    .addOption(option('--regions <a,b>', 'the regions that get a part; default: all of the fleet'))
    .addOption(option('--rate <n/s>', 'how many per second; default: as fast as they are acknowledged'))
    .addOption(option('--endpoint <url>', 'send everything to this OTLP/HTTP endpoint instead'))
    .action(async (options: SendOptions) => finish(await sendCommand(context, options)));

  target(program.command('trace <id>'))
    .description('draw a trace, with the region of each span')
    .addOption(option('--deadline <duration>', 'how long to wait for regions, e.g. 2s'))
    .addOption(option('--partial <warn|refuse>', 'what to do where a region is missing').choices(['warn', 'refuse']))
    .addOption(json())
    .option('--otlp', 'OTLP JSON instead of text')
    .action(async (id: string, options: TraceOptions) => finish(await traceCommand(context, id, options)));

  target(program.command('search'))
    .description('the newest traces that match')
    .option('--service <name...>', 'a span of this service; further names must occur in the trace')
    .option('--operation <name>', 'a span of this name')
    .option('--attr <key=value...>', 'an attribute of the span or its resource')
    .option('--error', 'the span has an error')
    .option('--kind <kind>', 'internal, server, client, producer or consumer')
    .option('--min-duration <duration>', 'the span takes at least, e.g. 250ms')
    .option('--max-duration <duration>', 'the span takes at most')
    .option('--start <time>', 'from (Unix time or RFC 3339)')
    .option('--end <time>', 'to')
    .option('--time-range <duration>', 'the last e.g. 5m, instead of start and end')
    .option('--regions <a,b>', 'only these regions')
    .option('--limit <n>', 'at most so many (default 20)')
    .option('--cursor <cursor>', 'go on after a former page')
    .option('--partial <warn|refuse>', 'what to do where a region is missing')
    .option('--deadline <duration>', 'how long to wait for regions')
    .addOption(json())
    .action(async (options: SearchOptions) => finish(await searchCommand(context, options)));

  target(program.command('index <id>'))
    .description('what the index knows of a trace: records, watermarks, and which regions would be asked')
    .addOption(json())
    .action(async (id: string, options: TargetOptions & { json?: boolean }) =>
      finish(await indexCommand(context, id, options)),
    );

  target(program.command('status'))
    .description('regions, roles, lag and health')
    .option('--watch', 'every second until Ctrl-C')
    .addOption(json())
    .action(async (options: TargetOptions & { watch?: boolean; json?: boolean }) =>
      finish(await statusCommand(context, options)),
    );

  program
    .command('replay')
    .description('rewind a view of a region to a time and rebuild it from the log')
    .addOption(data())
    .addOption(option('--region <region>', 'whose').makeOptionMandatory())
    .addOption(option('--view <view>', 'what to rebuild').choices(['store', 'index']).makeOptionMandatory())
    .addOption(
      option('--from <time|offset|earliest>', 'RFC 3339, Unix time, an offset (offset:N) or earliest', 'earliest'),
    )
    .action(async (options: { data: string; region: string; view: string; from: string }) =>
      finish(await replayCommand(context, options)),
    );

  program
    .command('reconcile')
    .description('compare the index of every region with the others and repair it')
    .addOption(data())
    .addOption(option('--region <region>', 'only the index of this region'))
    .addOption(json())
    .action(async (options: { data: string; region?: string; json?: boolean }) =>
      finish(await reconcileCommand(context, options)),
    );

  const snapshot = program.command('snapshot').description("copies of a region's store, and going back to one");
  const regionWhose = () => option('--region <region>', 'whose store').makeOptionMandatory();
  const plainJson = () => new Option('--json', 'JSON instead of text');
  snapshot
    .command('create')
    .description('take one now; the region takes them on a schedule, too, where its option snapshots is on')
    .addOption(data())
    .addOption(regionWhose())
    .addOption(plainJson())
    .action(async (options: SnapshotCreateOptions) => finish(await snapshotCreateCommand(context, options)));
  snapshot
    .command('list')
    .description('what there is, newest first, and how the last restore went')
    .addOption(data())
    .addOption(option('--region <region>', 'whose store; default: of every region'))
    .addOption(plainJson())
    .action(async (options: SnapshotListOptions) => finish(await snapshotListCommand(context, options)));
  // What replaces data is said on the command line itself, not by the environment.
  snapshot
    .command('restore')
    .description('put the store into the state of a moment: a snapshot, and what the log has between it and the moment')
    .addOption(data())
    .addOption(regionWhose())
    .option('--to <time>', 'the moment (RFC 3339 or Unix time); default: now, all that the log has')
    .option('--name <snapshot>', 'begin with this one; default: the newest before the moment')
    .option('--dry-run', 'only say which snapshot and what of the log would be taken')
    .option('--yes', 'do not ask')
    .addOption(plainJson())
    .action(async (options: SnapshotRestoreOptions) => finish(await snapshotRestoreCommand(context, options)));

  program
    .command('doctor')
    .description('check every process, its parts and the engines, and say what is wrong and what follows from it')
    .addOption(enginesOption())
    .addOption(data())
    .addOption(json())
    .action(async (options: DoctorOptions) => finish(await doctorCommand(context, options)));

  const engines = program.command('engines').description('Kafka, MirrorMaker, Elasticsearch and Redis on this machine');
  engines
    .command('up')
    .description('start them without a fleet and leave them running')
    .addOption(data())
    .addOption(option('--regions <a,b,c>', 'one of each for every region, at most 5', DEFAULT_REGIONS))
    .addOption(option('--port-offset <n|auto>', 'added to every port; auto takes free ports', '0'))
    .action(async (options: EnginesUpOptions) => finish(await enginesUpCommand(context, options)));
  engines
    .command('status')
    .description('name, version, address, process and state of each, asked of the engine itself')
    .addOption(data())
    .addOption(new Option('--json', 'JSON instead of text'))
    .action(async (options: { data: string; json?: boolean }) => finish(await enginesStatusCommand(context, options)));
  engines
    .command('down')
    .description('end those that `engines up` left running; data stay')
    .addOption(data())
    .action(async (options: { data: string }) => finish(await enginesDownCommand(context, options)));
  const ENGINE_ACTIONS = {
    stop: 'take one engine of the running fleet down, e.g. us-east-1/elasticsearch',
    start: 'bring one engine of the running fleet up again',
    kill: 'SIGKILL one engine of the running fleet, as a crash would: the fleet starts it again',
  } as const;
  for (const action of ['stop', 'start', 'kill'] as const) {
    engines
      .command(`${action} <name>`)
      .description(ENGINE_ACTIONS[action])
      .addOption(data())
      .action(async (name: string, options: { data: string }) =>
        finish(await enginesActCommand(context, action, name, options)),
      );
  }

  const mirror = (name: string) =>
    program
      .command(name)
      .addOption(
        option('--fleet <file>', "the fleet, or a region's configuration that holds it (JSON)").makeOptionMandatory(),
      )
      .addOption(option('--target <region>', 'the region that MirrorMaker brings topics to').makeOptionMandatory());
  mirror('mirror-config')
    .description('print the configuration of the MirrorMaker near a region')
    .addOption(option('--extra <file>', 'properties per region, for TLS and SASL (JSON)'))
    .addOption(option('--replication-factor <n>', 'of the topics that MirrorMaker makes'))
    .addOption(option('--logging <file>', "the log4j configuration instead; FILE is where the tasks' own log is to be"))
    .action(async (options: MirrorConfigOptions) => finish(await mirrorConfigCommand(context, options)));
  mirror('mirror-prepare')
    .description('give the MirrorMaker near a region the places to begin at; before each of its starts')
    .addOption(option('--connect <file>', 'how this command reaches the Kafka of each region (JSON)'))
    .action(async (options: MirrorPrepareOptions) => finish(await mirrorPrepareCommand(context, options)));

  return program;
}
