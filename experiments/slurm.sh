#!/bin/bash
#SBATCH --job-name=lthjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=04:00:00
#SBATCH --requeue
# One process a GPU, that find one another by what SLURM tells them; --out lies where all of them see it. A job that was
# stopped, or that lost a node, goes on from what was saved: sbatch --export=ALL,OUT=/shared/runs/mine experiments/slurm.sh
srun python -m experiments.find_tickets --coordinator auto --devices 1 --out "$OUT" "$@"
