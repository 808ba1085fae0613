! libbaash from Fortran: the SHA-256 of "abc" and of "xyz", by whatever kernel this CPU is fastest with.
!
!   gfortran rows.f90 $(pkg-config --libs libbaash) -o rows && ./rows
program rows
  use iso_c_binding
  implicit none
  interface
    integer(c_int) function baash_sha256_init(cpu_mask) bind(c)
      import
      integer(c_int32_t), value :: cpu_mask ! -1: hide nothing
    end function
    integer(c_int) function baash_sha256_rows(out, rows, stride, count, row_bytes, kernel) bind(c)
      import
      integer(c_int8_t), intent(out) :: out(32, *)
      character(kind=c_char), intent(in) :: rows(*)
      integer(c_size_t), value :: stride, count, row_bytes
      integer(c_int), value :: kernel ! -1: BAASH_CHOSEN
    end function
  end interface
  integer(c_int8_t) :: hashes(32, 2)
  integer :: i
  if (baash_sha256_init(-1_c_int32_t) /= 0) stop 1
  if (baash_sha256_rows(hashes, 'abcxyz', 3_c_size_t, 2_c_size_t, 3_c_size_t, -1_c_int) /= 0) stop 2
  do i = 1, 2
    print '(32z2.2)', hashes(:, i)
  end do
end program
