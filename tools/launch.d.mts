/** What the command line of `npx kalman-norm launch` asks for. */
export interface Launch {
  processes: number;
  restarts: number;
  grace: number;
  script: string;
  scriptArguments: string[];
}

export function parseLaunch(args: readonly string[]): Launch;
export function launch(args: readonly string[]): Promise<number>;
export function main(args: readonly string[]): Promise<void>;
